"""What the documents say is what the program does."""

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
