"""Numbers in the words people use: 42.1 M parameters, 84.2 MB, 3 min 05 s."""

from __future__ import annotations


def count(n: int | float) -> str:
    """`42100000` -> `42.1 M`; below a thousand the number itself."""
    return _scaled(n, ("", " k", " M", " G", " T", " P"))


def counted(n: int, what: str) -> str:
    """`1, "document"` -> `1 document`; `2,000 documents` for more."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def be(n: int) -> str:
    """The verb for so many."""
    return "is" if n == 1 else "are"


def size(n: int | float) -> str:
    """Bytes in decimal units: `84213760` -> `84.2 MB`."""
    return _scaled(n, (" B", " kB", " MB", " GB", " TB", " PB"))


def percent(share: float) -> str:
    """`0.394` -> `39%`, with one digit below ten percent only where it says more than zero."""
    value = 100 * share
    return f"{value:.0f}%" if value >= 9.95 or value == 0 else f"{value:.1f}%" if value >= 0.05 else "<0.1%"


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _scaled(n: int | float, units: tuple[str, ...]) -> str:
    value, unit = float(n), units[0]
    for unit in units:
        if abs(value) < 999.5 or unit == units[-1]:
            break
        value /= 1000
    if unit == units[0]:
        return f"{value:.0f}{unit}" if value == int(value) else f"{value:.1f}{unit}"
    return f"{value:.3g}{unit}" if abs(value) < 999.5 else f"{value:.0f}{unit}"
