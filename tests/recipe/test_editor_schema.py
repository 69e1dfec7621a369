"""The JSON Schema that editors use accepts and refuses what the reader does."""

import re
from pathlib import Path

import pytest
import yaml

from llmkit.models.registry import family_names
from llmkit.recipe.editor_schema import json_schema
from llmkit.recipe.keys import REQUIRED, all_specs, section_specs
from llmkit.recipe.resolved import yaml_value
from llmkit.recipe.schema import SECTIONS
from llmkit.recipe.shipped import builtin_names, builtin_path
from llmkit.recipe.values import check_value, flag_node

TYPES = {
    "integer": int, "number": (int, float), "boolean": bool, "string": str, "object": dict, "array": list,
    "null": type(None),
}  # fmt: skip


def accepts(schema, value):
    """A judge for the part of draft-07 that the schema uses."""
    types = schema.get("type", list(TYPES))
    types = types if isinstance(types, list) else [types]
    is_bool = isinstance(value, bool)
    if not any(isinstance(value, TYPES[t]) and (not is_bool or t == "boolean") for t in types):
        return False
    if "enum" in schema and value is not None and value not in schema["enum"]:
        return False
    if "const" in schema and value != schema["const"]:
        return False
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, (int, float)) and not is_bool:
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            return False
        if value <= schema.get("exclusiveMinimum", value - 1):
            return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        if schema.get("additionalProperties", True) is False and set(value) - set(properties):
            return False
        if set(schema.get("required", [])) - set(value):
            return False
        if not all(accepts(properties[k], v) for k, v in value.items() if k in properties):
            return False
    if isinstance(value, list) and (
        len(value) < schema.get("minItems", 0) or not all(accepts(schema.get("items", {}), v) for v in value)
    ):
        return False
    if "anyOf" in schema and not any(accepts(s, value) for s in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(accepts(s, value) for s in schema["oneOf"]) != 1:
        return False
    for branch in schema.get("allOf", []):
        if accepts(branch["if"], value) and not accepts(branch["then"], value):
            return False
    return True


def builtin(name):
    data = yaml.safe_load(Path(builtin_path(name)).read_text(encoding="utf-8"))
    data["train"]["lr"] = float(data["train"]["lr"])  # YAML 1.1 takes 1e-3 for text
    return data


@pytest.mark.parametrize("name", builtin_names())
def test_the_schema_accepts_the_built_in_recipes(name):
    assert accepts(json_schema(), builtin(name))


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "nope", 1), ("train", "steps", 0), ("train", "steps", "10"), ("train", "lr", 0),
        ("train", "schedule", "cosin"), ("model", "d_model", 10**12), ("model", "rope_theta", 1.0),
        ("model", "family", "nope"), ("model", "vocab_size", 5), ("data", "train", []), ("data", "train", 5),
        ("train", "device", "gpu"), ("objective", "name", "nope"), ("objective", "mask_rate", 2),
        ("objective", "dropout", 0.1), ("objective", "nope", 1),
    ],
)  # fmt: skip
def test_the_schema_refuses_what_the_reader_refuses(section, key, value):
    data = builtin("bert-mini")
    data[section][key] = value
    assert not accepts(json_schema(), data)


@pytest.mark.parametrize("key", ["mask_rate", "next_sentence", "long_share", "dropout"])
def test_the_schema_refuses_what_the_objective_does_not_read(key):
    data = builtin("gpt-mini")
    assert accepts(json_schema(), data | {"objective": {"name": "causal", "label_smoothing": 0.1}})
    value = {"next_sentence": True, "dropout": None}.get(key, 0.1)
    assert not accepts(json_schema(), data | {"objective": {"name": "causal", key: value}})


def test_the_schema_wants_a_model_or_a_base_and_not_both():
    data = builtin("bert-mini")
    assert not accepts(json_schema(), data | {"base": None})
    del data["model"]
    assert not accepts(json_schema(), data)


def test_every_key_says_what_it_is():
    for family in family_names():
        for path, spec in all_specs(family).items():
            assert spec.key.help, path
            assert not spec.key.help.endswith("."), path


def test_every_default_lies_within_its_own_limits():
    for family in family_names():
        for section in SECTIONS:
            for path, spec in section_specs(section, family).items():
                if spec.default not in (REQUIRED, None) and spec.default != ():
                    assert check_value(flag_node(yaml_value(spec.default)), spec, from_flag=True) == spec.default, path
