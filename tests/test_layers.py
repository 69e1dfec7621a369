"""The dependency rule: lower packages never import higher ones, and torch stays out of the fast paths."""

import ast
from pathlib import Path

import pytest

import llmkit

ROOT = Path(llmkit.__file__).parent
# Each package may import those in its set (and itself); everything may import EVERYWHERE.
ALLOWED = {
    "render": set(),
    "tokenization": set(),
    "weights": set(),
    "nn": set(),
    "models": {"nn", "weights"},
    "recipe": {"models"},
    "checkpoint": {"models", "weights"},
    "data": {"tokenization"},
    "generation": {"checkpoint", "data", "models", "nn", "tokenization", "recipe"},
    "prediction": {"checkpoint", "data", "models", "nn", "tokenization", "recipe"},
    "inspection": {"checkpoint", "data", "models", "nn", "tokenization", "recipe"},
    "training": {"checkpoint", "data", "models", "nn", "tokenization", "recipe", "generation"},
    "measurement": {"checkpoint", "data", "models", "nn", "tokenization", "recipe", "generation", "training"},
}
EVERYWHERE = {"errors", "suggest", "units"}


def imported_packages(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if node.module != "llmkit" else [f"llmkit.{a.name}" for a in node.names]
        found |= {n.split(".")[1] for n in names if n.startswith("llmkit.")}
    return found


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_package_imports_only_lower_layers(package):
    for path in (ROOT / package).rglob("*.py"):
        illegal = imported_packages(path) - ALLOWED[package] - EVERYWHERE - {package, "__version__"}
        assert not illegal, f"{path.relative_to(ROOT)} imports {sorted(illegal)}"


def test_every_package_has_a_place_in_the_layers():
    packages = {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()}
    assert packages - {"cli"} == set(ALLOWED)


def test_only_cli_knows_typer_and_only_cli_and_render_know_rich():
    for path in ROOT.rglob("*.py"):
        top = path.relative_to(ROOT).parts[0]
        text = path.read_text(encoding="utf-8")
        for library, homes in (("typer", {"cli"}), ("rich", {"cli", "render"})):
            if f"import {library}" in text or f"from {library}" in text:
                assert top in homes, f"{path.relative_to(ROOT)} imports {library}"
