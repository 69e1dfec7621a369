"""Every key a recipe may hold, with its type, default and limits, read off the dataclasses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmkit.models.registry import family_names, load_family
from llmkit.recipe.schema import NOT_MODEL_KEYS, SECTIONS, Key, ModelSettings, Recipe

_TYPE_WORDS = {
    "int": ("a whole number", "whole numbers"),
    "float": ("a number", "numbers"),
    "bool": ("true or false", "true or false"),
    "str": ("text", "texts"),
    "map": ("a table {key: value}", "tables"),
}
REQUIRED = dataclasses.MISSING
TOP_KEYS = ("name", "base")
_KINDS = ("int", "float", "bool", "str", "map")


@dataclass(frozen=True)
class Spec:
    """One key: where it stands and what it takes.

    kind: int, float, bool, str or map. many: "no"; "only" for a list; "too" for one value or a list.
    """

    path: str
    kind: str
    key: Key
    default: Any = REQUIRED
    optional: bool = False
    many: str = "no"

    @property
    def leaf(self) -> str:
        """The key without its section."""
        return self.path.rpartition(".")[2]

    @property
    def is_required(self) -> bool:
        """Whether a recipe must give it."""
        return self.default is REQUIRED

    def type_words(self) -> str:
        """The type in words, for messages and listings."""
        one, plural = _TYPE_WORDS[self.kind]
        return {"no": one, "only": f"a list of {plural}", "too": f"{one} or a list of {plural}"}[self.many]

    def limits(self) -> str:
        """The legal values in words; empty when everything of the type is legal."""
        k = self.key
        if k.choices:
            return ", ".join(k.choices)
        if k.above is not None:
            return f"above {number(k.above)}" + (f", at most {number(k.high)}" if k.high is not None else "")
        if k.low is not None and k.high is not None:
            return f"{number(k.low)} to {number(k.high)}"
        if k.low is not None:
            return f"at least {number(k.low)}"
        return f"at most {number(k.high)}" if k.high is not None else ""

    def must_be(self) -> str:
        """`limits`, to follow "it must be"."""
        is_span = self.key.low is not None and self.key.high is not None and self.key.above is None
        return ("from " if is_span else "") + self.limits()


def number(value: float) -> str:
    """A limit as people write it."""
    is_whole = float(value).is_integer() and abs(value) < 1e9
    return str(int(value)) if is_whole else f"{value:.10g}".replace("e+", "e").replace("e-0", "e-")


def top_specs() -> dict[str, Spec]:
    """The keys outside any section."""
    return {s.leaf: s for f in dataclasses.fields(Recipe) if f.name in TOP_KEYS and (s := _spec("", f))}


def section_specs(section: str, family: str | None = None) -> dict[str, Spec]:
    """The keys of one section by name; those of `model` depend on the family (None: `family` itself alone)."""
    found = [s for f in dataclasses.fields(SECTIONS[section]) if (s := _spec(section, f))]
    if section == "model":
        described = dataclasses.replace(found[0].key, choices=tuple(family_names()))
        found = [dataclasses.replace(found[0], key=described), *(_model_specs(family) if family else ())]
    return {s.leaf: s for s in found}


def unread_keys(objective: str) -> dict[str, Spec]:
    """The keys of the objective section that this objective does not read, by dotted path."""
    return {s.path: s for s in section_specs("objective").values() if s.key.only and objective not in s.key.only}


def all_specs(family: str | None) -> dict[str, Spec]:
    """Every key by its dotted path; without a family, the model keys of all families together."""
    found = dict(top_specs())
    for section in SECTIONS:
        families = [family] if family else family_names() if section == "model" else [None]
        for name in families:
            for s in section_specs(section, name).values():
                found.setdefault(s.path, s)
    return found


def _model_specs(family: str) -> list[Spec]:
    config = load_family(family).config_class
    return [s for f in dataclasses.fields(config) if f.name not in NOT_MODEL_KEYS and (s := _spec("model", f))]


def _spec(section: str, field: dataclasses.Field[Any]) -> Spec | None:
    """The description of a dataclass field; None for what a recipe cannot hold."""
    annotation = field.type if isinstance(field.type, str) else getattr(field.type, "__name__", "")
    parts = {part.strip() for part in annotation.replace("Mapping[str, Any]", "map").split("|")}
    optional = "None" in parts
    parts.discard("None")
    lists = {p for p in parts if re.fullmatch(r"list\[(int|float|bool|str)\]|tuple\[(int|float|bool|str), \.\.\.\]", p)}
    kinds = {re.split(r"[\[\],]", p)[1] for p in lists} | (parts - lists)
    # What is written otherwise (a nested dataclass, say) is no key of its own.
    if len(kinds) != 1 or not kinds <= set(_KINDS):
        return None
    many = "no" if not lists else "only" if parts == lists else "too"
    path = f"{section}.{field.name}" if section else field.name
    return Spec(path, kinds.pop(), _key(field.metadata), field.default, optional, many)


def _key(metadata: Mapping[str, Any]) -> Key:
    """The description of ours, or the same facts as the model configurations note them."""
    described = metadata.get("key")
    if isinstance(described, Key):
        return described
    names = {f.name for f in dataclasses.fields(Key)}
    facts = {name: value for name, value in metadata.items() if name in names}
    facts["choices"] = tuple(facts.get("choices") or ())
    return Key(**{"help": "", **facts})


def model_settings(values: Mapping[str, Any]) -> ModelSettings:
    """Settings from the checked values of the model section."""
    return ModelSettings(values["family"], {name: value for name, value in values.items() if name != "family"})
