"""`llmkit store`: three faces, exact exit codes, no torch."""

import json
import os
import pty
import subprocess
import sys

import pytest

from llmkit.checkpoint.store import RunDirectory
from llmkit.cli.app import run as program
from llmkit.training.cache import text_cache


@pytest.fixture
def store(tmp_path, monkeypatch):
    def write(directory):
        (directory / "config.json").write_text('{"model_type": "gpt2"}')
        (directory / "model.safetensors").write_bytes(b"w" * 5000)

    for name, steps in (("gpt-mini", (500, 1000, 1500)), ("bert-mini", (300,))):
        run = RunDirectory(tmp_path / "runs" / name)
        with run.lock():
            for step in steps:
                run.save(step, write, meta={"recipe": "abc"})
    (tmp_path / "runs" / "tok").mkdir()
    (tmp_path / "runs" / "tok" / "tokenizer.json").write_text("{}")
    monkeypatch.setenv("LLMKIT_STORE", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def llmkit(capfd):
    def call(*args):
        code = program(["store", *args])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def damage(store):
    path = store / "gpt-mini" / "step-001000" / "model.safetensors"
    path.write_bytes(b"x" + path.read_bytes()[1:])


def test_ls_in_a_pipe_is_one_record_a_line(store, llmkit):
    code, out, err = llmkit("ls")
    rows = [line.split("\t") for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [row[:4] for row in rows] == [
        ["bert-mini", "run", "gpt2", "1"], ["gpt-mini", "run", "gpt2", "3"], ["tok", "tokenizer", "", "0"],
    ]  # fmt: skip
    assert rows[0][4].isdigit()
    assert rows[0][5].endswith("Z")
    assert [line.split("\t")[0] for line in llmkit("ls", "gpt-mini")[1].splitlines()] == [
        "gpt-mini@500", "gpt-mini@1000", "gpt-mini@1500",
    ]  # fmt: skip


def test_ls_as_json_says_what_is_wrong(store, llmkit):
    (store / "gpt-mini" / "step-001500" / "model.safetensors").unlink()
    body = json.loads(llmkit("ls", "--json")[1])
    assert body["schema"] == "llmkit/store-ls/1"
    found = {entry["ref"]: entry for entry in body["entries"]}
    assert "model.safetensors" in found["gpt-mini"]["problem"]
    assert found["bert-mini"]["problem"] is None


def test_an_empty_store_lists_nothing_and_says_what_to_do(tmp_path, llmkit):
    code, out, err = llmkit("ls", "--store", str(tmp_path / "none"))
    assert (code, out) == (0, "")
    assert "pretrain" in err


def test_show_tells_origin_and_files(store, llmkit):
    rows = dict(line.split("\t", 1) for line in llmkit("show", "gpt-mini@1000")[1].splitlines())
    assert (rows["step"], rows["parent step"], rows["recipe"]) == ("1000", "500", "abc")
    body = json.loads(llmkit("show", "gpt-mini", "--json")[1])
    assert (body["step"], body["family"]) == (1500, "gpt2")
    assert [f["name"] for f in body["files"]] == ["config.json", "model.safetensors"]


def test_verify_reads_everything_and_names_what_is_damaged(store, llmkit):
    assert llmkit("verify")[:2] == (0, "bert-mini@300\tok\ngpt-mini@500\tok\ngpt-mini@1000\tok\ngpt-mini@1500\tok\n")
    damage(store)
    code, out, err = llmkit("verify")
    assert code == 4
    assert [line.split("\t")[1] for line in out.splitlines()] == ["ok", "ok", "damaged", "ok"]
    assert "gpt-mini@1000" in err
    assert llmkit("verify", "gpt-mini@500")[0] == 0
    code, out, err = llmkit("verify", "gpt-mini", "--json")
    assert code == 4
    assert [c["ok"] for c in json.loads(out)["checkpoints"]] == [True, False, True]
    code, out, err = llmkit("verify", "-q", "gpt-mini")
    assert out.count("\n") == 1


def test_verify_counts_a_step_that_lost_its_manifest_as_damaged(store, llmkit):
    (store / "gpt-mini" / "step-001500" / "manifest.json").unlink()
    code, out, _ = llmkit("verify", "gpt-mini")
    assert code == 4
    assert "gpt-mini@1500\tno manifest" in out


def test_prune_keeps_the_newest_and_dry_run_deletes_nothing(store, llmkit):
    assert llmkit("prune", "gpt-mini", "--keep", "1", "--dry-run") == (
        0, "would delete\tgpt-mini@500\nwould delete\tgpt-mini@1000\n", "",
    )  # fmt: skip
    assert len(list((store / "gpt-mini").glob("step-*"))) == 3
    assert llmkit("prune", "gpt-mini", "--keep", "1")[0] == 0
    assert [p.name for p in (store / "gpt-mini").glob("step-*")] == ["step-001500"]
    assert json.loads(llmkit("prune", "gpt-mini", "--keep", "1", "--json")[1])["deleted"] == []


def test_prune_of_a_run_in_use_exits_7(store, llmkit):
    holder = (
        "import sys; from pathlib import Path; from llmkit.checkpoint.store import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.readline()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(store / "gpt-mini")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        code, _, err = llmkit("prune", "gpt-mini", "--keep", "1")
        process.communicate(b"\n")
    assert code == 7
    assert f"process {process.pid}" in err


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("ls", "gpt-mni"), 2, "did you mean 'gpt-mini'"),
        (("show", "gpt-mni"), 2, "did you mean 'gpt-mini'"),
        (("show", "./nowhere"), 74, "No such file"),
        (("verify", "bert-mni"), 2, "did you mean 'bert-mini'"),
        (("prune", "../x", "--keep", "1"), 2, "no run"),
        (("prune", "gpt-mini", "--keep", "0"), 2, "keep"),
        (("prune", "gpt-mini"), 2, "--keep"),
        (("diff", "gpt-mini@500", "gpt-mini@7"), 2, "no step"),
        (("diff", "gpt-mini@500", "gpt-mini@1000"), 4, "model.safetensors"),
        (("nonsense",), 2, "nonsense"),
    ],
)
def test_mistakes_are_one_line_with_the_right_code(args, code, says, store, llmkit):
    found, out, err = llmkit(*args)
    assert (found, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert err.count("\n") <= 2


def test_diff_of_weights(store, llmkit, tmp_path):
    import torch
    from safetensors.torch import save_file

    for name, value in (("a", 1.0), ("b", 1.5)):
        (tmp_path / name).mkdir()
        save_file({"w": torch.full((3,), value), name: torch.ones(1)}, tmp_path / name / "model.safetensors")
        (tmp_path / name / "config.json").write_text("{}")
    a, b = f"{tmp_path}/a", f"{tmp_path}/b"
    assert llmkit("diff", a, b)[:2] == (3, "added\tb\t\nremoved\ta\t\nchanged\tw\t0.5\n")
    assert llmkit("diff", a, a) == (0, "", "all 2 tensors equal\n")
    assert llmkit("diff", a, a, "--quiet") == (0, "", "")
    assert json.loads(llmkit("diff", a, b, "--json")[1])["changed"] == {"w": 0.5}


@pytest.mark.parametrize("command", [("ls",), ("show", "evil"), ("show", "gpt-mini")])
@pytest.mark.parametrize("columns", [1, 40, 80, 120])
def test_a_terminal_gets_a_table_that_fits_and_no_control_codes_from_files(store, columns, command):
    config = '{"model_type": "gpt2\\u001b]0;owned\\u0007"}'
    (store / "evil").mkdir()
    (store / "evil" / "config.json").write_text(config)
    here, there = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    done = subprocess.run(
        [sys.executable, "-m", "llmkit", "store", *command], stdout=there, stderr=subprocess.PIPE, env=environment
    )
    os.close(there)
    text = os.read(here, 1 << 16).decode()
    os.close(here)
    assert (done.returncode, done.stderr) == (0, b"")
    import re

    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert "\x1b" not in plain
    assert "\x07" not in plain
    lines = plain.replace("\r", "").splitlines()
    assert lines[0].startswith("ref")
    assert len(lines) == 5 or command != ("ls",)
    assert max(map(len, lines)) <= max(20, columns)


def test_store_commands_need_no_torch(store):
    code = (
        "import sys\nfrom llmkit.cli.app import run\n"
        "for args in (['ls'], ['show', 'gpt-mini'], ['verify'], ['prune', 'gpt-mini', '--keep', '1']):\n"
        "    assert run(['store', *args]) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, timeout=60)


def test_clean_deletes_the_cache_alone_and_says_what_it_takes(store, llmkit):
    assert llmkit("clean") == (0, "", "")
    cache = store / ".cache"
    (cache / "entry").mkdir(parents=True)
    (cache / "entry" / "ids.bin").write_bytes(bytes(2048))
    (cache / "outside").symlink_to(store / "gpt-mini")
    before = sorted(path for path in (store / "gpt-mini").rglob("*"))
    assert llmkit("clean", "--dry-run")[1].splitlines()[0] == "would delete\tentry\t2.05 kB"
    assert (cache / "entry" / "ids.bin").exists()
    assert json.loads(llmkit("clean", "--json")[1])["deleted"][0] == {"name": "entry", "bytes": 2048}
    assert [path.name for path in cache.iterdir()] == ["lock"]
    assert sorted((store / "gpt-mini").rglob("*")) == before


def test_the_cache_is_not_cleaned_under_a_run_that_prepares_its_text(store, llmkit):
    with text_cache(store) as cache:
        (cache / "entry").write_text("half done")
        code, out, err = llmkit("clean")
        assert (code, out) == (7, "")
        assert "in use" in err
        assert (cache / "entry").exists()
