"""The resolved recipe says the same thing to everyone, and tells what changed."""

import dataclasses

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.recipe import builtin_names, diff, digest, load_recipe, to_yaml
from llmkit.recipe.load import parse_recipe
from llmkit.recipe.problems import Report
from llmkit.recipe.resolved import flatten, yaml_value
from llmkit.recipe.safe_yaml import read_yaml


@pytest.mark.parametrize("name", builtin_names())
def test_a_resolved_recipe_reads_back_as_the_same_recipe(name):
    recipe = load_recipe(name)
    text = to_yaml(recipe)
    again = parse_recipe(text, "resolved.yaml")
    assert again == recipe
    assert to_yaml(again) == text
    assert digest(again) == digest(recipe)


@pytest.mark.parametrize("name", builtin_names())
def test_other_yaml_readers_see_the_same_values(name):
    recipe = load_recipe(name, ["train.eps=1e-8", "data.train=[no, 'a: b', 010]"])
    loaded = yaml.safe_load(to_yaml(recipe))
    flat = {f"{s}.{k}": v for s, keys in loaded.items() if isinstance(keys, dict) for k, v in keys.items()}
    ours = {path: value for path, value in flatten(recipe).items() if "." in path}
    assert flat == ours


# PyYAML's writer of lone surrogates and ours agree on what a text is: any Python string.
@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Z", "C")), max_size=20),
        st.sampled_from(
            ["1e-4", "null", "true", "no", "010", "", " a", "a ", "- a", "a: b", "#", "1_0", "~", "<<", "é"]
        ),
        st.floats(allow_nan=False),
        st.integers(-(10**18), 10**18),
        st.booleans(),
        st.none(),
    )
)
def test_any_value_survives_writing_and_reading(value):
    text = f"key: {yaml_value(value)}\n"
    report = Report("")
    node = read_yaml(text, report)
    assert not report.problems, report.problems
    found = node.value["key"].node.value
    assert found == value
    assert type(found) is type(value)


def test_the_digest_does_not_depend_on_order_comments_or_place(tiny):
    moved = "objective:\n  name: causal # x\n" + tiny.replace("objective:\n  name: causal\n", "")
    assert digest(parse_recipe(tiny, "a.yaml")) == digest(parse_recipe(moved, "b.yaml"))
    spelled = parse_recipe(tiny, "a.yaml", ["train.lr=0.001", "train.clip=1"])
    assert digest(spelled) == digest(parse_recipe(tiny, "a.yaml"))


def test_the_digest_changes_with_any_value(tiny):
    base = parse_recipe(tiny, "a.yaml")
    for flag in ("train.lr=2e-3", "model.dropout=0.2", "data.seed=1", "name=other", "tokenizer.vocab_size=99"):
        assert digest(parse_recipe(tiny, "a.yaml", [flag])) != digest(base), flag


def test_diff_lists_what_changed_with_old_and_new_value(tiny):
    old = parse_recipe(tiny, "a.yaml")
    new = parse_recipe(tiny, "a.yaml", ["train.lr=3e-4", "data.train=[a.txt, b]"])
    assert diff(old, new) == ["data.train: stories -> [a.txt, b]", "train.lr: 0.001 -> 0.0003"]
    assert diff(old, old) == []
    llama = parse_recipe(tiny, "a.yaml", ["model.family=llama"])
    assert "model.rope_theta: (none) -> 10000.0" in diff(old, llama)
    assert "model.scale_attention: true -> (none)" in diff(old, llama)


def test_origins_stand_beside_the_values(tiny):
    text = to_yaml(parse_recipe(tiny, "a.yaml", ["train.lr=3e-4"]), with_origins=True)
    assert "lr: 0.0003                            # --set train.lr=3e-4\n" in text
    assert "# a.yaml line 11\n" in text
    assert parse_recipe(text, "b.yaml") == dataclasses.replace(parse_recipe(tiny, "a.yaml", ["train.lr=3e-4"]))


def test_an_origin_cannot_smuggle_in_a_line(tiny):
    recipe = parse_recipe(tiny, "a\nname: evil.yaml", ["data.train=x\n  stories: 5"])
    assert parse_recipe(to_yaml(recipe, with_origins=True), "b").data.stories == recipe.data.stories
