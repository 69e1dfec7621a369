"""Find recipes: files anywhere, and the built-in ones by name."""

from __future__ import annotations

import os
from pathlib import Path

from llmkit.errors import UsageError
from llmkit.recipe.shipped import builtin_names, builtin_path
from llmkit.suggest import nearest

SUFFIXES = (".yaml", ".yml")
_NEARBY = 300  # directory entries to look at for a guess


def find_recipe(ref: str) -> Path:
    """The file that `ref` means: an existing file, or else a built-in as NAME, NAME.yaml or recipes/NAME.yaml.

    Any other path must exist: a built-in never stands in for a file of one's own that is missing.
    Raises UsageError with the nearest names.
    """
    path = Path(ref)
    try:
        if path.is_dir() and not _is_builtin(path):
            inside = path / "recipe.yaml"
            hint = f"name the file: {inside}" if inside.is_file() else "name a .yaml file, or see llmkit recipe ls"
            raise UsageError(f"recipe {ref} is a directory", hint)
        # Not is_file(): a pipe such as /dev/stdin or <(...) is welcome.
        if path.exists() and not path.is_dir():
            return path
    except (OSError, ValueError):  # a name too long, or with a NUL in it
        pass
    if _is_builtin(path):
        return Path(builtin_path(path.stem))
    near = guesses(ref)
    hint = f"did you mean {' or '.join(near)}?" if near else "see llmkit recipe ls for the built-in ones"
    raise UsageError(f"no recipe {ref!r}: no such file, and no built-in of that name", hint)


def guesses(ref: str) -> list[str]:
    """Recipe names and files close to `ref`: built-in ones, and files nearby."""
    path = Path(ref)
    here = [*_recipes_in(Path()), *_recipes_in(Path("recipes"))]
    beside = _recipes_in(path.parent) if path.parent != Path() else []
    by_stem: dict[str, str] = {}
    for candidate in [*beside, *here]:
        by_stem.setdefault(candidate.stem, str(candidate))
    for name in builtin_names():
        by_stem.setdefault(name, name)
    return [by_stem[stem] for stem in nearest(path.stem, by_stem)]


def _is_builtin(path: Path) -> bool:
    plain = path.parent in (Path(), Path("recipes")) and not path.is_absolute()
    return plain and path.suffix in ("", *SUFFIXES) and path.stem in builtin_names()


def _recipes_in(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))[:_NEARBY]
    except (OSError, ValueError):
        return []
    return [folder / name for name in names if name.endswith(SUFFIXES)]
