"""Where results go: a drawing on a terminal, records in a pipe, one JSON object, a picture in a file."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import StorageError, UsageError
from llmkit.render.console import is_terminal, make_console, palette, wants_color, width
from llmkit.render.lines import talk
from llmkit.render.safe_text import safe_line, safe_text

if TYPE_CHECKING:
    from rich.text import Text

    from llmkit.render.palette import Palette
    from llmkit.render.table import Cell, Column


@dataclass(frozen=True)
class Output:
    """Where and how results go: a terminal drawing, records in a pipe, one JSON object, a picture."""

    as_json: bool = False
    quiet: bool = False
    svg: Path | None = None

    @property
    def is_terminal(self) -> bool:
        return not self.as_json and is_terminal(sys.stdout)

    @property
    def palette(self) -> Palette:
        return palette() if wants_color(sys.stdout) else "none"

    @property
    def width(self) -> int:
        return max(20, width(sys.stdout))

    def draw(self, lines: Iterable[Text]) -> None:
        """Print drawn lines on the terminal."""
        console = make_console(sys.stdout)
        for line in lines:
            console.print(line, soft_wrap=True)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """Print aligned columns that fit the terminal."""
        from llmkit.render.table import table_lines

        self.draw(table_lines(columns, rows, self.width))

    def facts(self, values: Mapping[str, str]) -> None:
        """Print titles with their values on the terminal."""
        from llmkit.render.table import fact_lines

        self.draw(fact_lines(values, self.width))

    def records(self, rows: Iterable[Sequence[object]], *, flush: bool = False) -> None:
        """Print tab-separated records, one a line whatever is in a cell."""
        clean = safe_text if self.is_terminal else str
        for row in rows:
            print(clean("\t".join(_cell(cell) for cell in row)), flush=flush)

    def object(self, body: dict[str, Any]) -> None:
        """Print one JSON object; numbers that are not finite become null, and `nonfinite` says so."""
        clean = _finite(body)
        if not _all_finite(body):
            clean["nonfinite"] = True
        print(json_text(clean, allow_nan=False))

    def note(self, message: str) -> None:
        """Say something on stderr, unless --quiet."""
        if not self.quiet:
            print(talk(safe_line(message), sys.stderr), file=sys.stderr)

    def write_svg(self, picture: str) -> None:
        """Write the picture that --svg asked for."""
        assert self.svg is not None
        refuse_other_files(self.svg)
        write_text(self.svg, picture)
        self.note(f"wrote {self.svg}")


def write_text(path: Path, content: str) -> None:
    """Write a file or `-`; StorageError with the path if that fails."""
    if str(path) == "-":
        sys.stdout.write(content)
        return
    write_file(path, content.encode("utf-8"))


def write_file(path: Path, content: bytes) -> None:
    """Put `content` at `path`, through links; StorageError with the path if that fails, what was there unchanged.

    Only what is no plain file, such as a device or a pipe, is written to where it is.
    """
    temporary: Path | None = None
    try:
        target = path.resolve()
        mode = target.stat().st_mode if target.exists() else None
        if mode is not None and not stat.S_ISREG(mode):
            path.write_bytes(content)
            return
        if mode is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        temporary = target.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(8)}")
        with temporary.open("xb") as file:
            if mode is not None:
                temporary.chmod(stat.S_IMODE(mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "free some space, or name another place" if is_full else None
        raise StorageError(f"{path}: {error.strerror}", hint) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def refuse_overwriting(target: Path, inputs: Iterable[str | Path]) -> None:
    """Raise UsageError if `target` is a file that is read, `-` being stdin; links do not hide it."""
    for source in inputs:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # one of them is not there, or stdin is closed
            if os.path.samefile(target, sys.stdin.fileno() if str(source) == "-" else source):
                raise UsageError(f"{target} is an input; writing it would destroy what is read", "choose another name")


def refuse_other_files(target: Path) -> None:
    """Raise UsageError if `target` is a file with something else than a picture in it, say a recipe."""
    begin = b""
    with contextlib.suppress(OSError):
        if target.is_file():
            with target.open("rb") as file:
                begin = file.read(4096).strip()
    if begin and b"<svg" not in begin:
        raise UsageError(f"{target} is there and is no SVG; the picture would destroy it", "choose another name")


def json_text(body: object, *, allow_nan: bool = True) -> str:
    """`body` as JSON on one line: readable UTF-8, but all escapes where a terminal would obey what is in it."""
    line = json.dumps(body, ensure_ascii=False, allow_nan=allow_nan)
    return json.dumps(body, allow_nan=allow_nan) if is_terminal(sys.stdout) and safe_text(line) != line else line


def _cell(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else " ".join(text.splitlines()).replace("\t", " ")


def _all_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_all_finite(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return all(_all_finite(v) for v in value)
    return not isinstance(value, float) or math.isfinite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
