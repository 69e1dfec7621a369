"""What a recipe is, in one line: for `llmkit recipe ls`."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.recipe.load import load_recipe
from llmkit.recipe.shipped import builtin_names, builtin_path
from llmkit.recipe.size import approximate_parameters, likely_vocab_size


@dataclass(frozen=True)
class Listing:
    """One built-in recipe: parameters is an estimate from the sizes; None, like the family, for fine-tuning."""

    name: str
    about: str
    family: str | None
    objective: str
    parameters: int | None
    path: str


def listings() -> list[Listing]:
    """The built-in recipes by name."""
    return [_listing(name) for name in builtin_names()]


def _listing(name: str) -> Listing:
    path = builtin_path(name)
    with open(path, encoding="utf-8") as file:
        about = file.readline().lstrip("# ").strip().removeprefix(f"{name}:").strip()
    recipe = load_recipe(name)
    if recipe.model is None or recipe.tokenizer is None:
        return Listing(name, about, None, recipe.objective.name, None, path)
    vocab_size = likely_vocab_size(recipe.tokenizer.algorithm, recipe.tokenizer.vocab_size)
    parameters = approximate_parameters(recipe.model.fields, vocab_size)
    return Listing(name, about, recipe.model.family, recipe.objective.name, parameters, path)
