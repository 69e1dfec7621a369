"""The settings of a model beside what its family takes for granted, in our words and in config.json's. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.models.config import ModelConfig
    from llmkit.models.family import Family

AUTO = "auto"  # shown for a default that follows from other settings
_BOOKKEEPING = ("transformers_version", "torch_dtype", "dtype", "_name_or_path", "use_cache", "architectures")


@dataclass(frozen=True)
class Setting:
    """One setting. default: what a config.json that is silent means by it; key: its name there, if it has one.

    legal: the range or the choices, in words; help: what it is.
    """

    name: str
    value: object
    default: object
    key: str
    legal: str
    help: str

    @property
    def is_default(self) -> bool:
        return self.default == AUTO or self.value == self.default


def settings_of(family: Family, config: ModelConfig | None) -> list[Setting]:
    """Every setting of `config`, or, without one, of a config.json that says nothing. Order as the class has them."""
    silent: Mapping[str, Any] = {ours: key.default for ours, key in family.keys.items()}
    ids = {f"{name.removesuffix('_token_id')}_id": value for name, value in family.token_ids.items()}
    found = []
    for field in fields(family.config_class):
        rules = field.metadata
        default = silent.get(field.name, ids.get(field.name, None if field.default is MISSING else field.default))
        if type(default) is object:  # a key that config.json must have
            default = None
        if default == 0 and rules.get("low") == 0 and "0:" in rules.get("help", ""):
            default = AUTO
        value = default if config is None else getattr(config, field.name)
        key = family.keys[field.name].theirs if field.name in family.keys else ""
        found.append(Setting(field.name, value, default, key, _legal(rules), rules.get("help", "")))
    return found


def config_differences(
    old: Mapping[str, object],
    new: Mapping[str, object],
    known: tuple[Family, ModelConfig] | None = None,
    other: tuple[Family, ModelConfig] | None = None,
) -> dict[str, tuple[object, object]]:
    """What two configurations do not share: name -> (old, new).

    old, new: the config.json; where both are of one family, known and other hold what llmkit reads in them, and are
    compared instead, so that a key left out equals one that says the default.
    """
    if known and other and known[0] is other[0]:
        pairs = {f.name: (getattr(known[1], f.name), getattr(other[1], f.name)) for f in fields(known[1])}
    else:
        names = [n for n in {**old, **new} if n not in _BOOKKEEPING]
        pairs = {n: (old.get(n), new.get(n)) for n in names}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b}


def _legal(rules: Mapping[str, Any]) -> str:
    choices, low, high = rules.get("choices"), rules.get("low"), rules.get("high")
    if choices:
        return ", ".join(choices)
    if low is None and high is None:
        return ""
    return f"{low} to {high}" if high is not None else f"at least {low}"
