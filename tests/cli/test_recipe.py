"""llmkit recipe on a terminal, in a pipe and as JSON."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit.cli.app import run
from llmkit.recipe import builtin_names, load_recipe
from llmkit.recipe.shipped import builtin_path


def on_terminal(*args, columns):
    """Output of `llmkit ARGS` on a terminal of that width."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    done = subprocess.Popen([sys.executable, "-m", "llmkit", *args], stdout=child, stderr=child, env=environment)
    os.close(child)
    chunks = []
    try:
        while chunk := os.read(parent, 65536):
            chunks.append(chunk)
    except OSError:  # Linux ends a pty with EIO
        pass
    os.close(parent)
    return done.wait(), b"".join(chunks).decode().replace("\r\n", "\n")


def test_ls_in_a_pipe_is_one_tab_separated_line_per_recipe(capsys):
    assert run(["recipe", "ls"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == builtin_names()
    assert {len(row) for row in rows} == {5}


def test_ls_json_names_every_recipe_with_its_file(capsys):
    assert run(["recipe", "ls", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "llmkit/recipe-ls/1"
    assert all(os.path.isfile(entry["path"]) and entry["about"] for entry in data["recipes"])


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_tables_fit_the_terminal(columns):
    for args in (["recipe", "ls"], ["recipe", "schema", "model"]):
        code, output = on_terminal(*args, columns=columns)
        assert code == 0
        plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
        assert max(map(len, plain.splitlines())) <= columns


def test_show_prints_the_commented_source_to_copy(capsys):
    assert run(["recipe", "show", "bert-mini"]) == 0
    assert capsys.readouterr().out == Path(builtin_path("bert-mini")).read_text(encoding="utf-8")


def test_show_resolved_prints_a_recipe_that_reads_back(capsys, tmp_path):
    assert run(["recipe", "show", "bert-mini", "--set", "train.steps=500"]) == 0
    path = tmp_path / "my.yaml"
    path.write_text(capsys.readouterr().out)
    assert load_recipe(str(path)) == load_recipe("bert-mini", ["train.steps=500"])


def test_show_origin_tells_file_flag_and_default(capsys):
    assert run(["recipe", "show", "bert-mini", "--origin", "--set", "train.lr=3e-4"]) == 0
    out = capsys.readouterr().out
    assert "# --set train.lr=3e-4" in out
    assert re.search(r"d_model: \d+ +# bert-mini.yaml line \d+", out)
    assert re.search(r"norm_eps: 1.0e-12 +# default", out)


def test_show_json_has_values_and_origins(capsys):
    assert run(["recipe", "show", "sst2", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["recipe"]["base"] is None
    assert data["recipe"]["train"]["batch_size"] == 32
    assert data["origins"]["train.beta1"] == "default"


def test_show_makes_a_hostile_file_harmless_on_a_terminal(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("# \x1b]0;owned\x07 \x1b[2J [/INST] :smile:\n")
    _, output = on_terminal("recipe", "show", str(path), columns=80)
    assert "\x1b" not in output
    assert "[/INST] :smile:" in output
    _, output = on_terminal("recipe", "validate", str(path), columns=80)
    assert "\x1b" not in output


def test_validate_checks_several_and_reports_all(capsys, tmp_path):
    bad, worse = tmp_path / "bad.yaml", tmp_path / "worse.yaml"
    bad.write_text("base: null\nobjective: {name: clasify}\n")
    worse.write_text("base: [\n")
    assert run(["recipe", "validate", "bert-mini", str(bad), str(worse), "nope"]) == 2
    captured = capsys.readouterr()
    assert [line.rpartition("\t")[2] for line in captured.out.splitlines()] == ["ok", "wrong", "wrong", "wrong"]
    assert captured.err.count("error: ") == 3
    assert captured.err.count("  fix: ") == 3
    assert "did you mean `classify`?" in captured.err


def test_validate_json_lists_every_problem_with_its_line(capsys, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("base: null\nobjective:\n  nam: classify\ntrain:\n  steps: x\n")
    assert run(["recipe", "validate", "--json", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    (entry,) = json.loads(captured.out)["recipes"]
    assert not entry["ok"]
    assert [(p["code"], p["line"]) for p in entry["problems"]] == [("recipe.unknown_key", 3), ("recipe.type", 5)]
    assert entry["problems"][0]["suggestions"] == ["objective.name"]


def test_an_error_in_json_mode_carries_code_line_and_suggestions(capsys, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("base: null\nobjective: {name: classify}\ntrain:\n  stesp: 5\n")
    assert run(["recipe", "show", str(path), "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["code"], error["exit"], error["line"]) == ("recipe.unknown_key", 2, 4)
    assert error["suggestions"] == ["train.steps"]


def test_schema_is_a_json_schema_and_a_section_is_a_table(capsys):
    assert run(["recipe", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("http://json-schema.org/draft-07")
    assert run(["recipe", "schema", "train"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["lr", "a number", "0.001", "above 0, at most 100"] in [row[:4] for row in rows]
    assert run(["recipe", "schema", "model", "--family", "llama"]) == 0
    keys = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert "rope_theta" in keys
    assert "n_segments" not in keys


@pytest.mark.parametrize(
    ("args", "guess"),
    [
        (["recipe", "shwo"], "show"),
        (["recipe", "schema", "trian"], "train"),
        (["recipe", "show", "bret-mini"], "bert-mini"),
    ],
)
def test_mistyped_words_are_guessed(args, guess, capsys):
    assert run(args) == 2
    assert guess in capsys.readouterr().err


def test_no_recipe_command_imports_torch_or_numpy():
    code = (
        "import sys; from llmkit.cli.app import run\n"
        "for args in (['ls'], ['show', 'bert-mini', '--origin'], ['validate', 'sst2'], ['schema']):\n"
        "    assert run(['recipe', *args]) == 0\n"
        "assert not {'torch', 'numpy', 'transformers', 'tokenizers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_is_an_input_output_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "llmkit", "recipe", "schema"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 74
    assert b"Traceback" not in done.stderr
