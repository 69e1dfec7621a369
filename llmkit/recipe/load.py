"""Read a recipe: a file and `--set` flags in, a checked Recipe out, or every problem at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmkit.errors import UsageError
from llmkit.recipe.checks import Draft, check_together
from llmkit.recipe.find import find_recipe
from llmkit.recipe.guess import guess_key
from llmkit.recipe.keys import REQUIRED, Spec, all_specs, model_settings, section_specs, top_specs
from llmkit.recipe.problems import MOST_SHOWN, Report, Spot
from llmkit.recipe.safe_yaml import MAX_BYTES, Node, read_yaml, split_lines
from llmkit.recipe.scaling import parse_size, scale
from llmkit.recipe.schema import SECTIONS, Recipe
from llmkit.recipe.shaping import SIZED
from llmkit.recipe.shipped import builtin_dir
from llmkit.recipe.values import Wrong, check_value, flag_node
from llmkit.suggest import nearest


@dataclass(frozen=True)
class Given:
    """A value as somebody gave it: in the file (`at` is its key), or with a flag (`flag` is what was typed)."""

    node: Node
    at: Spot | None = None
    flag: str | None = None


def load_recipe(path_or_name: str, overrides: Iterable[str] = (), *, size: str | None = None) -> Recipe:
    """The recipe in a file, or a built-in one by name, with `key=value` overrides applied; later ones win.

    size: "small" or "30M", the dial of llmkit.recipe.scaling: above what the file says, below the overrides.

    Raises UsageError when there is no such recipe and RecipeProblems, naming every line at fault, when it is wrong.
    """
    path = find_recipe(path_or_name)
    label = path.name if path.parent == Path(builtin_dir()) else path_or_name
    return parse_recipe(_read(path, label), label, overrides, size=size)


def read_source(path_or_name: str) -> str:
    """A recipe's text as its author wrote it, comments and all; not checked."""
    return _read(find_recipe(path_or_name), path_or_name)


def parse_recipe(text: str, source: str, overrides: Iterable[str] = (), *, size: str | None = None) -> Recipe:
    """The recipe that `text` holds; `source` is the name that messages give it."""
    report = Report(source, split_lines(text))
    root = read_yaml(text, report)
    if root is not None and not isinstance(root.value, dict):
        report.add(
            "syntax", "a recipe is a map of sections, this is not", root.spot, fix="see llmkit recipe show bert-mini"
        )
    if root is None or not isinstance(root.value, dict):
        report.stop_if_any()
        raise UsageError(f"{source} holds no recipe")
    given, sections = _flatten(root, report)
    _apply(overrides, given, report)
    sections |= {path.partition(".")[0] for path in given if "." in path}
    places = {p: (g.at, g.flag) for p, g in given.items()}
    draft = Draft(source, report, sections, explicit=set(given), places=places)
    if not given and not sections and not report.problems:
        report.add("missing", "there is nothing in this recipe", fix="start from one: llmkit recipe show bert-mini")
        report.stop_if_any()
    specs = _specs_for(given, sections, draft)
    if size is not None:
        draft.guessed |= set(SIZED)  # found below, so not missing
    _fill(draft, given, specs)
    if size is not None:
        _turn_dial(draft, size, places)
    check_together(draft)
    report.stop_if_any()
    return _build(draft, specs, source)


def _read(path: Path, label: str) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        text = data[:MAX_BYTES].decode("utf-8-sig") if len(data) <= MAX_BYTES else "#" * (MAX_BYTES + 1)
    except UnicodeDecodeError as error:
        report = Report(label)
        line = data.count(b"\n", 0, error.start) + 1
        report.add(
            "syntax",
            f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8",
            Spot(line, 0),
            fix="save the recipe as UTF-8 text",
        )
        report.stop_if_any()
        raise
    return text


def _flatten(root: Node, report: Report) -> tuple[dict[str, Given], set[str]]:
    """Dotted key -> what the file gives it, and the sections that it opens."""
    given: dict[str, Given] = {}
    opened: set[str] = set()
    assert isinstance(root.value, dict)
    for name, entry in root.value.items():
        node = entry.node
        if name in SECTIONS:
            opened.add(name)
            if isinstance(node.value, dict):
                given.update({f"{name}.{leaf}": Given(e.node, e.spot) for leaf, e in node.value.items()})
            elif node.value is not None:
                fix = f"put its keys under it, indented; list them with: llmkit recipe schema {name}"
                report.add("type", f"`{name}` must be a section with keys", entry.spot, fix=fix)
        elif isinstance(node.value, dict) and node.value and name not in top_specs() and not nearest(name, SECTIONS):
            # An unknown section: its keys, each with its dotted path, say more about what was meant.
            given.update({f"{name}.{leaf}": Given(e.node, e.spot) for leaf, e in node.value.items()})
        else:
            given[name] = Given(node, entry.spot)
    return given, opened


def _apply(overrides: Iterable[str], given: dict[str, Given], report: Report) -> None:
    for text in overrides:
        path, equals, value = text.partition("=")
        path = path.strip()
        if not equals or not path:
            report.add("flag", "a --set without key=value", origin=f"--set {text}", fix="write --set train.steps=500")
        elif path in SECTIONS:
            fix = f"name one of its keys, for example --set {next(iter(section_specs(path).values())).path}=..."
            report.add("flag", f"`{path}` is a section", origin=f"--set {text}", fix=fix)
        else:
            given[path] = Given(flag_node(value), flag=f"--set {text}")
    for path, other in (("data.target", "data.pair"), ("data.pair", "data.target")):
        # Two ways to name the other side of pairs: a flag's takes the place of the file's.
        if is_set_by_flag(given.get(path)) and other in given and given[other].flag is None:
            del given[other]


def is_set_by_flag(item: Given | None) -> bool:
    """Whether a flag gives a key a value other than null."""
    return item is not None and item.flag is not None and item.node.value is not None


def _specs_for(given: dict[str, Given], sections: set[str], draft: Draft) -> dict[str, Spec]:
    """Every key this recipe may hold; the model keys need the family first."""
    if "model" not in sections:
        return all_specs(None)
    family: str | None = None
    if "model.family" in given:
        spec = section_specs("model")["family"]
        family = _checked(draft, given["model.family"], spec)
    return all_specs(family)


def _fill(draft: Draft, given: dict[str, Given], specs: dict[str, Spec]) -> None:
    """Check what is given, and add the defaults of every section in use."""
    for path, item in given.items():
        spec = specs.get(path)
        if spec is None:
            _unknown(draft, path, item, specs)
        elif path != "model.family":
            value = _checked(draft, item, spec)
            if path not in draft.failed:
                draft.values[path] = value
    in_use = {"data", "objective", "train", *(draft.sections & {"model", "tokenizer"})}
    in_use |= {"tokenizer"} if "model" in draft.sections else set()
    for path, spec in specs.items():
        section = path.rpartition(".")[0]
        if (
            path in draft.values
            or path in draft.failed | draft.guessed
            or path == "name"
            or (section and section not in in_use)
        ):
            continue
        if spec.default is not REQUIRED:
            draft.values[path] = spec.default
        elif section != "model" or path == "model.family" or "model.family" in draft.values:
            fix = f"add `{spec.leaf}: ...` to `{section}`: {spec.key.help}" + (
                f" ({spec.limits()})" if spec.limits() else ""
            )
            draft.report.add("missing", f"`{path}` is missing", fix=fix)


def _checked(draft: Draft, item: Given, spec: Spec) -> Any:
    try:
        value = check_value(item.node, spec, from_flag=item.flag is not None)
    except Wrong as wrong:
        draft.fail(
            spec.path,
            wrong.code,
            wrong.message,
            wrong.fix,
            at=wrong.at or item.node.spot,
            pointer=wrong.pointer,
            suggestions=wrong.suggestions,
        )
        return None
    draft.values[spec.path] = value
    return value


def _turn_dial(draft: Draft, size: str, places: dict[str, tuple[Spot | None, str | None]]) -> None:
    """Put what `--size` means into the draft, unless what it depends on is wrong already."""
    target = parse_size(size)
    if "model" not in draft.sections:
        draft.report.add("flag", "`--size` has no use: the checkpoint has its size", fix="leave out --size")
        return
    if draft.report.problems or "model.family" not in draft.values:
        return
    flagged = {path for path, (_, flag) in places.items() if flag}
    found = scale(target, draft.values, given=draft.explicit - flagged, fixed=flagged).values
    for path, value in found.items():
        if path not in flagged and (path in SIZED or path.startswith("train.") or value != draft.values.get(path)):
            draft.values[path] = value
            draft.explicit.add(path)
            places[path] = (None, f"--size {size}")


def _unknown(draft: Draft, path: str, item: Given, specs: dict[str, Spec]) -> None:
    """Report a key nobody knows, with the ones it may have been."""
    section, _, leaf = path.rpartition(".")
    if section == "model" and "model.family" not in draft.values:
        return  # the family is missing or wrong, and that is reported
    # Guessing costs milliseconds; nobody reads the thousandth guess.
    near = guess_key(path, specs, SECTIONS) if len(draft.report.problems) < MOST_SHOWN else []
    draft.guessed |= set(near[:1])
    short = [n.rpartition(".")[2] if section and n.startswith(section + ".") and not item.flag else n for n in near]
    pointer = "did you mean " + " or ".join(f"`{n}`" for n in short) + "?" if near else None
    where = section if section in SECTIONS else ""
    listing = f"llmkit recipe schema {where}".rstrip()
    if near and near[0].rpartition(".")[0] not in (section, ""):
        other = near[0].rpartition(".")[0]
        fix = f"move it to the section `{other}`, or list the keys with: llmkit recipe schema {other}"
    else:
        fix = f"rename it, or list the keys with: {listing}" if near else f"list the keys with: {listing}"
    if leaf in ("head", "labels") and section == "model":
        fix = "it follows from the objective and the data; remove the line"
    draft.failed.add(path)
    draft.report.add(
        "unknown_key",
        f"unknown key `{path}`",
        item.at if not item.flag else None,
        origin=item.flag,
        pointer=pointer,
        fix=fix,
        suggestions=near,
    )


def _build(draft: Draft, specs: dict[str, Spec], source: str) -> Recipe:
    parts: dict[str, Any] = {}
    for section, cls in SECTIONS.items():
        prefix = f"{section}."
        # In the order of the description, so that equal recipes are written alike whatever the order in the file.
        values = {s.leaf: draft.values[p] for p, s in specs.items() if p.startswith(prefix) and p in draft.values}
        if section in ("model", "tokenizer") and "model" not in draft.sections:
            continue
        parts[section] = model_settings(values) if section == "model" else cls(**values)
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(source).stem).strip("-._")[:80] or "run"
    parts["name"] = draft.values.get("name", stem)
    origins = {path: _origin(draft, path, source) for path in [*draft.values, "name"]}
    return Recipe(base=draft.values.get("base"), source=source, origins=origins, **parts)


def _origin(draft: Draft, path: str, source: str) -> str:
    if path not in draft.places:
        return "file name" if path == "name" else "default"
    at, flag = draft.places[path]
    return flag or (f"{source} line {at.line}" if at else source)
