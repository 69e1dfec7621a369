"""Where the recipes that come with llmkit are. Next to no imports: completion asks at every TAB."""

from __future__ import annotations

import os


def builtin_dir() -> str:
    """The directory of the built-in recipes: inside an installed package, or beside the package in a checkout."""
    package = os.path.dirname(os.path.abspath(__file__))
    inside = os.path.join(package, "builtin")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(os.path.dirname(package)), "recipes")


def builtin_names() -> list[str]:
    """Names of the built-in recipes, sorted."""
    try:
        return sorted(name.removesuffix(".yaml") for name in os.listdir(builtin_dir()) if name.endswith(".yaml"))
    except OSError:
        return []


def builtin_path(name: str) -> str:
    """The file of a built-in recipe."""
    return os.path.join(builtin_dir(), f"{name}.yaml")
