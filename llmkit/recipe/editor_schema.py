"""The JSON Schema of recipes, for editors that complete and check YAML as it is typed."""

from __future__ import annotations

from typing import Any

from llmkit.models.registry import family_names, load_family
from llmkit.recipe.keys import Spec, section_specs, top_specs, unread_keys
from llmkit.recipe.schema import SECTIONS

_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "map": "object"}


def json_schema() -> dict[str, Any]:
    """A draft-07 schema, the one that YAML language servers support in full."""
    properties: dict[str, Any] = {name: _property(spec) for name, spec in top_specs().items()}
    properties |= {section: section_schema(section) for section in SECTIONS}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "llmkit recipe",
        "description": "One training run: pre-training has model and tokenizer, fine-tuning has base.",
        "type": "object",
        "additionalProperties": False,
        "required": ["objective"],
        "properties": properties,
        "oneOf": [{"required": ["model"]}, {"required": ["base"]}],
    }


def section_schema(section: str) -> dict[str, Any]:
    """The schema of one section; `model` has a branch per family, `objective` one per objective."""
    schema: dict[str, Any] = {"type": "object", "description": SECTIONS[section].__doc__}
    if section == "objective":
        specs = section_specs(section)
        branches = []
        for name in specs["name"].key.choices:
            unread = {spec.leaf for spec in unread_keys(name).values()}
            then = _object({leaf: spec for leaf, spec in specs.items() if leaf not in unread})
            branches.append({"if": {"properties": {"name": {"const": name}}}, "then": then})
        return schema | {"required": ["name"], "properties": {"name": _property(specs["name"])}, "allOf": branches}
    if section != "model":
        return schema | _object(section_specs(section))
    branches = []
    for name in family_names():
        then = _object(section_specs("model", name))
        branches.append({"if": {"properties": {"family": {"const": name}}}, "then": then})
    titles = "; ".join(f"{name}: {load_family(name).peculiar}" for name in family_names())
    family = _property(section_specs("model")["family"]) | {"description": f"model family ({titles})"}
    return schema | {"required": ["family"], "properties": {"family": family}, "allOf": branches}


def _object(specs: dict[str, Spec]) -> dict[str, Any]:
    return {
        "additionalProperties": False,
        "required": [name for name, spec in specs.items() if spec.is_required],
        "properties": {name: _property(spec) for name, spec in specs.items()},
    }


def _property(spec: Spec) -> dict[str, Any]:
    one: dict[str, Any] = {
        "type": [_TYPES[spec.kind], "null"] if spec.optional and spec.many == "no" else _TYPES[spec.kind]
    }
    k = spec.key
    if k.choices:
        one["enum"] = list(k.choices)
    if k.pattern:
        one["pattern"] = f"^({k.pattern})$"
    if k.low is not None:
        one["minimum"] = k.low
    if k.above is not None:
        one["exclusiveMinimum"] = k.above
    if k.high is not None:
        one["maximum"] = k.high
    several = {"type": "array", "items": one, "minItems": 0 if spec.optional else 1}
    described = {"no": one, "only": several, "too": {"anyOf": [one, several]}}[spec.many]
    extra: dict[str, Any] = {"description": k.help} if k.help else {}
    if not spec.is_required:
        extra["default"] = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    return described | extra
