"""Recipes: typed YAML with defaults, limits and messages that say how to mend it. No torch; loaded when used."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in llmkit/__init__.py
if TYPE_CHECKING:
    from llmkit.recipe.editor_schema import json_schema as json_schema
    from llmkit.recipe.load import load_recipe as load_recipe
    from llmkit.recipe.resolved import diff as diff
    from llmkit.recipe.resolved import digest as digest
    from llmkit.recipe.resolved import to_yaml as to_yaml
    from llmkit.recipe.schema import Recipe as Recipe
    from llmkit.recipe.shipped import builtin_names as builtin_names

# Shell completion imports this package at every TAB and must not pay for the YAML reader.
_HOMES = {
    "Recipe": "schema",
    "builtin_names": "shipped",
    "diff": "resolved",
    "digest": "resolved",
    "json_schema": "editor_schema",
    "load_recipe": "load",
    "to_yaml": "resolved",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
