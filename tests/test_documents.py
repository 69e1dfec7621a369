"""What the documents say is what the program does."""

import ast
import re
import sys
from pathlib import Path

import pytest

from llmkit.cli.shells.tree import program

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_names_the_commands_whose_json_is_lines():
    said = re.search(r"`--json` is one object, or one a line where[^:]*: ([^.]*)\.", README)
    lines = {
        command.path[0]
        for command in program().walk()
        for option in command.options
        if "--json" in option.names and "JSON lines" in option.help
    }
    assert set(re.findall(r"`([a-z-]+)`", said.group(1))) == lines


def test_every_command_in_the_readme_is_one():
    code = " ".join(fenced or inline for fenced, inline in re.findall(r"```sh\n(.*?)```|`([^`]+)`", README, re.DOTALL))
    used = set(re.findall(r"\bllmkit ([a-z-]+)", code))
    assert {"pretrain", "predict", "generate"} <= used
    assert used <= {child.name for child in program().children} | {"help"}


def test_the_page_about_the_zoo_is_what_the_families_say():
    from tests.zoo.table import FILE, text

    assert FILE.read_text(encoding="utf-8") == text(), "python -m tests.zoo table writes it"


def test_no_family_is_named_in_a_condition_outside_its_file():
    """What a family does differently is written in its own file; code that asks for a name grows a case per family."""
    from llmkit.models.registry import family_names, load_family

    names = {spelled for name in family_names() for spelled in (name, name.replace("_", "-"), load_family(name).title)}
    # Words of their own besides a family's name.
    names -= {"Transformer"}
    found = []
    for path in sorted((ROOT / "llmkit").rglob("*.py")):
        if path.parent.name == "families":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            tests = [n.test for n in [node] if isinstance(n, (ast.If, ast.IfExp, ast.While))]
            tests += [node] if isinstance(node, (ast.Compare, ast.BoolOp, ast.match_case)) else []
            words = [c.value for t in tests for c in ast.walk(t) if isinstance(c, ast.Constant)]
            found += [f"{path.name}:{node.lineno}: {word}" for word in words if word in names]
    assert found == []


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_a_source_archive_holds_every_document_that_the_readme_shows():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    shown = re.findall(r"\]\(([^):]+)\)", README)
    assert shown
    for path in shown:
        assert (ROOT / path).is_file()
        assert any(path == entry or path.startswith(entry + "/") for entry in included), path


def test_the_training_page_lists_every_objective_and_names_recipes_that_exist():
    from llmkit.recipe.find import builtin_names
    from llmkit.recipe.tasks import TASKS

    rows = [
        line
        for line in (ROOT / "docs" / "training.md").read_text().splitlines()
        if line.startswith("| `") and not line.startswith("| `objective")
    ]
    named = {line.split("|")[1].strip().strip("`"): line.split("|")[3].replace("`", "").split(", ") for line in rows}
    assert named.keys() == TASKS.keys()
    assert {r.strip() for recipes in named.values() for r in recipes} <= set(builtin_names())
