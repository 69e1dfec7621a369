"""`--sweep` as it is typed."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from llmkit.cli.relay import Relay

RECIPE = """
name: tiny
model: {family: gpt2, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 16}
tokenizer: {algorithm: char}
data: {train: stories, stories: 30, validation_fraction: 0.1}
objective: {name: causal}
train: {steps: 6, batch_size: 2, seq_len: 16, log_every: 1, eval_every: 3, save_every: 2, threads: 1, device: cpu}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sweep(llmkit, place):
    return lambda *words: llmkit("pretrain", "tiny.yaml", "--store", "runs", *words)


@pytest.fixture
def children(place, monkeypatch):
    """Stands for the processes: notes their command lines, writes a log for each, and ends with the code for its lr."""
    seen, codes = [], {}

    def run(self, arguments):
        seen.append(arguments)
        name = arguments[arguments.index("--run") + 1]
        rate = float(arguments[-1 if "--quiet" not in arguments else -2].partition("=")[2])
        directory = place / "runs" / name
        directory.mkdir(parents=True)
        step = {"event": "step", "step": 6, "loss": 1 / rate, "tokens": 100, "seconds": 2.0}
        score = {"event": "eval", "step": 6, "loss": 2 / rate, "better": True}
        start = {"event": "start", "step": 0, "steps": 6}
        (directory / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (start, step, score)))
        return codes.get(rate, 0)

    monkeypatch.setattr(Relay, "run", run)
    return seen, codes


def test_a_sweep_trains_each_run_and_tells_which_is_best(sweep, place):
    done = sweep("--sweep", "train.lr=1e-5,1e-2")
    assert done.code == 0, done.err
    head, *rows = [line.split("\t") for line in done.out.decode().splitlines()]
    table = [dict(zip(head, row, strict=True)) for row in rows]
    assert [(r["run"], r["train.lr"], r["exit"], r["state"], r["is_best"]) for r in table] == [
        ("tiny-lr-1e-5", "1e-5", "0", "finished", "0"),
        ("tiny-lr-1e-2", "1e-2", "0", "finished", "1"),
    ]
    assert float(table[1]["validation_loss"]) < float(table[0]["validation_loss"])
    log = (place / "runs/tiny-lr-1e-2/metrics.jsonl").read_text()
    again = sweep("--sweep", "train.lr=1e-5,1e-2", "--json")
    body = json.loads(again.out)
    assert (body["schema"], body["best"], len(body["runs"])) == ("llmkit/sweep/1", "tiny-lr-1e-2", 2)
    assert (place / "runs/tiny-lr-1e-2/metrics.jsonl").read_text() == log


def test_a_signal_saves_the_run_that_goes_and_the_same_command_goes_on(place):
    command = [
        sys.executable,
        "-m",
        "llmkit",
        "pretrain",
        "tiny.yaml",
        "--store",
        "runs",
        "--sweep",
        "train.lr=1e-3,1e-2",
    ]
    command += ["--set", "train.steps=100000", "--set", "train.save_every=0", "--set", "train.eval_every=0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = place / "runs/tiny-lr-1e-3/metrics.jsonl"
    began = time.monotonic()
    while not (log.exists() and '"step"' in log.read_text().partition("\n")[2]) and time.monotonic() - began < 60:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "stopped by SIGTERM at step" in err
    assert "sweep stopped in run 1 of 2; the same command goes on with it" in err
    assert out == ""
    assert list((place / "runs/tiny-lr-1e-3").glob("step-*"))
    assert not (place / "runs/tiny-lr-1e-2").exists()


def test_each_run_gets_the_options_of_the_command(sweep, children):
    sweep("--sweep", "train.lr=1,2", "--set", "train.steps=9", "--allow-change", "train.steps", "--device", "cpu", "-q")
    for words, rate in zip(children[0], ("1", "2"), strict=True):
        assert words[:6] == ["pretrain", "tiny.yaml", "--run", f"tiny-lr-{rate}", "--store", "runs"]
        assert words[-3:] == ["--set", f"train.lr={rate}", "--quiet"]
        pairs = list(itertools.pairwise(words))
        assert {("--set", "train.steps=9"), ("--allow-change", "train.steps"), ("--device", "cpu")} <= set(pairs)
        assert "--sweep" not in words


def test_a_run_that_diverged_is_a_row_and_the_sweep_goes_on(sweep, children):
    children[1][2.0] = 5
    done = sweep("--sweep", "train.lr=1,2,4", "--run", "other")
    rows = [line.split("\t") for line in done.out.decode().splitlines()[1:]]
    assert [(r[0], r[2], r[3]) for r in rows] == [
        ("other-lr-1", "0", "finished"), ("other-lr-2", "5", "diverged"), ("other-lr-4", "0", "finished"),
    ]  # fmt: skip
    assert done.code == 0


def test_a_run_that_failed_otherwise_gives_its_code_to_the_sweep(sweep, children):
    children[1][1.0] = 6
    done = sweep("--sweep", "train.lr=1,2")
    assert done.code == 6
    assert len(children[0]) == 2


def test_a_run_that_was_stopped_stops_the_sweep(sweep, children):
    children[1][1.0] = 75
    assert sweep("--sweep", "train.lr=1,2").code == 75
    assert len(children[0]) == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--sweep", "train.lrr=1,2"), "train.lrr"),
        (("--sweep", "train.lr=1e-3,fast"), "fast"),
        (("--sweep", "train.lr"), "--sweep train.lr=1e-4,3e-4"),
        (("--sweep", "train.lr=1,2", "--set", "data.train=-"), "stdin"),
    ],
)
def test_every_recipe_is_checked_before_the_first_run(words, complaint, sweep, children):
    done = sweep(*words)
    assert done.code == 2
    assert complaint in done.err
    assert not children[0]


def test_a_dry_run_lists_the_runs_and_what_they_take(sweep, children):
    done = sweep("--sweep", "train.lr=1,2", "--dry-run")
    head, *rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert head == ["run", "train.lr", "parameters", "steps", "seconds", "refused"]
    assert [r[0] for r in rows] == ["tiny-lr-1", "tiny-lr-2"]
    assert all(float(r[4]) > 0 for r in rows)
    body = json.loads(sweep("--sweep", "train.lr=1,2", "--dry-run", "--json").out)
    assert body["total_seconds"] == pytest.approx(sum(r["seconds"] for r in body["runs"]))
    assert not children[0]


def test_the_runs_of_a_sweep_are_drawn_together(sweep, children, llmkit):
    sweep("--sweep", "train.lr=1,2")
    body = json.loads(sweep("--sweep", "train.lr=1,2,3", "--plot", "--json").out)
    assert [r["run"] for r in body["runs"]] == ["tiny-lr-1", "tiny-lr-2"]


def test_a_terminal_gets_a_table_with_the_best_marked(children, on_terminal, place):
    done = on_terminal("pretrain", "tiny.yaml", "--store", "runs", "--sweep", "train.lr=1,2")
    assert "validation loss" in done.shown
    (best,) = [line for line in done.shown.splitlines() if "◀ best" in line]
    assert " 2 " in best


def test_a_process_that_hears_a_signal_through_the_relay_hears_it_once(tmp_path, monkeypatch):
    heard = tmp_path / "heard"
    program = (
        "import os, signal, sys, time\n"
        f"note = lambda n, f: open({str(heard)!r}, 'a').write('x')\n"
        "signal.signal(signal.SIGINT, note)\n"
        "os.kill(int(sys.argv[1]), signal.SIGINT)\n"
        "time.sleep(0.5)\n"
        "sys.exit(130)\n"
    )
    (tmp_path / "sitecustomize.py").write_text("")
    real = subprocess.Popen
    monkeypatch.setattr(
        subprocess, "Popen", lambda command, **more: real([command[0], "-c", program, command[3]], **more)
    )
    with Relay() as relay:
        assert relay.run([str(os.getpid())]) == 130
        assert relay.number == signal.SIGINT
    assert heard.read_text() == "x"
