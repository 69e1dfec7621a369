"""Recipes are found by name and by path, from any directory; a missing file is never silently replaced."""

import os
from pathlib import Path

import pytest

from llmkit.errors import UsageError
from llmkit.recipe.find import find_recipe, guesses
from llmkit.recipe.shipped import builtin_names, builtin_path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("ref", ["bert-mini", "bert-mini.yaml", "recipes/bert-mini.yaml", "./recipes/bert-mini.yaml"])
def test_a_built_in_is_found_from_any_directory(ref):
    assert find_recipe(ref) == Path(builtin_path("bert-mini"))
    assert find_recipe(ref).is_file()


def test_an_existing_file_wins_over_a_built_in():
    Path("recipes").mkdir()
    Path("recipes/bert-mini.yaml").write_text("name: mine\n")
    assert find_recipe("recipes/bert-mini.yaml") == Path("recipes/bert-mini.yaml")


def test_a_directory_of_the_same_name_does_not_hide_a_built_in():
    Path("bert-mini").mkdir()
    assert find_recipe("bert-mini") == Path(builtin_path("bert-mini"))


@pytest.mark.parametrize(
    "ref", ["my/bert-mini.yaml", "/nowhere/bert-mini.yaml", "bert-mini.json", "x/recipes/bert-mini"]
)
def test_a_missing_file_elsewhere_is_not_replaced_by_a_built_in(ref):
    with pytest.raises(UsageError, match="no recipe"):
        find_recipe(ref)


def test_a_mistyped_name_is_told_the_nearest_built_in_and_the_nearest_file():
    assert guesses("bert-mni")[0] == "bert-mini"
    Path("tiny-run.yaml").write_text("")
    assert guesses("tiny-rnu.yaml") == ["tiny-run.yaml"]
    Path("sub").mkdir()
    Path("sub/other.yaml").write_text("")
    assert guesses("sub/othr.yaml") == [os.path.join("sub", "other.yaml")]
    with pytest.raises(UsageError) as caught:
        find_recipe("bret-mini")
    assert "bert-mini" in caught.value.hint


def test_a_part_of_a_name_is_offered_the_recipes_that_have_it():
    assert guesses("mini") == [name for name in builtin_names() if "mini" in name][:3]
    assert guesses("shakespeare") == ["shakespeare-char"]


def test_a_run_directory_points_at_the_recipe_inside():
    Path("step-000010").mkdir()
    Path("step-000010/recipe.yaml").write_text("")
    with pytest.raises(UsageError) as caught:
        find_recipe("step-000010")
    assert "step-000010/recipe.yaml" in caught.value.hint


@pytest.mark.parametrize("ref", ["a\0b", "x" * 5000, "", "\x1b[2J"])
def test_a_name_no_file_can_have_is_one_clear_error(ref):
    with pytest.raises(UsageError):
        find_recipe(ref)


def test_the_five_recipes_are_there():
    assert {"bert-mini", "gpt-mini", "llama-mini", "shakespeare-char", "sst2"} <= set(builtin_names())
