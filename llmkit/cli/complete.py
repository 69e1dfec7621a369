"""`llmkit __complete KIND PREFIX`: the words a shell offers at TAB that depend on files. Standard library only.

Prints one `word<TAB>description` per line, at most MOST, and always ends with exit code 0: a shell has no use for more.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator

MOST = 200
_LOOKED_AT = 2000  # directory entries, so that a huge directory costs no more than a large one
_STEP = re.compile(r"step-0*(\d+)")
KEYS_FILE = os.path.join(os.path.dirname(__file__), "shells", "recipe_keys.tsv")

Words = Iterator[tuple[str, str]]


def main(arguments: list[str]) -> int:
    """Print the words of the kind arguments[0] that begin with arguments[1]."""
    try:
        kind, prefix = (*arguments, "", "")[:2]
        lines = []
        for word, description in SOURCES.get(kind, _nothing)(prefix):
            # A name with a control character could act in the terminal, or make two lines of one.
            if word.startswith(prefix) and word.isprintable():
                lines.append(f"{word}\t{description}\n")
            if len(lines) == MOST:
                break
        sys.stdout.buffer.write("".join(lines).encode("utf-8", "replace"))
        sys.stdout.flush()
    except Exception:  # whatever it is, the user is typing and must not be interrupted
        _close_quietly()
    return 0


def _nothing(prefix: str) -> Words:
    return iter(())


def _recipes(prefix: str) -> Words:
    from llmkit.recipe.shipped import builtin_names

    yield from ((name, "built in") for name in builtin_names())
    for folder in ("", "recipes"):
        for entry in _entries(folder or "."):
            if entry.name.endswith((".yaml", ".yml")):
                yield os.path.join(folder, entry.name), "file"


def _checkpoints(prefix: str) -> Words:
    """Runs by name, newest first; after NAME@ the steps of that run."""
    store = os.environ.get("LLMKIT_STORE") or "runs"
    name, at, _ = prefix.partition("@")
    if at:
        found = sorted(_steps(os.path.join(store, name)), reverse=True)
        yield from ((f"{name}@{step}", _age(changed)) for step, changed in found)
        return
    runs = []
    for run in _directories(store):
        steps = list(_steps(run.path))
        if steps:
            step, changed = max(steps)
            runs.append((changed, run.name, f"step {step}, {_age(changed)}"))
        elif os.path.exists(os.path.join(run.path, "config.json")):
            runs.append((_changed(run), run.name, _age(_changed(run))))
    yield from ((run, description) for _, run, description in sorted(runs, reverse=True))


def _tokenizers(prefix: str) -> Words:
    """Directories with a tokenizer of their own, newest first, then checkpoints, which hold one too."""
    store = os.environ.get("LLMKIT_STORE") or "runs"
    if "@" not in prefix:
        found = [d for d in _directories(store) if os.path.exists(os.path.join(d.path, "tokenizer.json"))]
        found.sort(key=_changed, reverse=True)
        yield from ((d.name, f"tokenizer, {_age(_changed(d))}") for d in found)
    yield from _checkpoints(prefix)


def _recipe_keys(prefix: str) -> Words:
    """`section.key=`, and once the `=` is there, the values if they are a fixed few."""
    key, equals, _ = prefix.partition("=")
    with open(KEYS_FILE, encoding="utf-8") as file:
        for line in file:
            path, values, description = line.rstrip("\n").split("\t")
            if not equals:
                yield f"{path}=", description
            elif path == key:
                yield from ((f"{path}={value}", "") for value in values.split("|") if value)


def _recipe_key_names(prefix: str) -> Words:
    return ((word.removesuffix("="), description) for word, description in _recipe_keys(""))


SOURCES: dict[str, Callable[[str], Words]] = {
    "recipes": _recipes,
    "checkpoints": _checkpoints,
    "tokenizers": _tokenizers,
    "recipe-keys": _recipe_keys,
    "recipe-key-names": _recipe_key_names,
}


def _entries(folder: str) -> list[os.DirEntry[str]]:
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found.append(entry)
                if len(found) == _LOOKED_AT:
                    break
    except OSError:
        pass
    return sorted(found, key=lambda entry: entry.name)


def _directories(folder: str) -> list[os.DirEntry[str]]:
    return [e for e in _entries(folder) if not e.name.startswith(".") and e.is_dir()]


def _steps(run: str) -> Iterator[tuple[int, float]]:
    for entry in _entries(run):
        match = _STEP.fullmatch(entry.name)
        if match and os.path.exists(os.path.join(entry.path, "manifest.json")):
            yield int(match.group(1)), _changed(entry)


def _changed(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _age(changed: float) -> str:
    seconds = max(0.0, time.time() - changed)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def _close_quietly() -> None:
    """Leave nothing that the interpreter could fail to write at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
