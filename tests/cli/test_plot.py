"""`--plot` as it is typed, on logs written here."""

import json
import math
import subprocess
import sys

import pytest


def write_run(directory, n=30, scale=1.0, end=True):
    directory.mkdir(parents=True)
    lines = [{"event": "start", "step": 0, "run": directory.name, "steps": 300}]
    for i in range(1, n + 1):
        loss = 2 + scale * math.exp(-i / 5)
        line = {"event": "step", "step": 10 * i, "loss": loss, "lr": 1e-3, "tokens": 640 * i, "seconds": 0.5 * i}
        lines.append(line)
        if i % 10 == 0:
            lines.append({"event": "eval", "step": 10 * i, "loss": loss + 0.1, "seconds": 9.0, "better": i < n})
    if end:
        lines.append({"event": "end", "step": 10 * n, "reason": "finished", "seconds": 1.0})
    (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "first")
    write_run(tmp_path / "runs" / "gpt-mini", 20, 3.0, end=False)
    return tmp_path


@pytest.fixture
def plot(llmkit, place):
    return lambda *words, command="pretrain": llmkit(command, *words, "--store", "runs")


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_pipe_gets_rows_under_a_line_of_names(command, plot):
    done = plot("first", "--plot", command=command)
    rows = [line.split("\t") for line in done.out.decode().splitlines()]
    assert rows[0] == ["run", "step", "tokens", "seconds", "loss", "validation"]
    assert len(rows) == 31
    assert rows[1][:4] == ["first", "10", "640", "0.5"]
    assert rows[1][5] == ""
    assert float(rows[10][5]) == pytest.approx(float(rows[10][4]) + 0.1)


def test_what_a_pipe_got_can_be_plotted_again(plot, place):
    rows = plot("--plot", "first", "gpt-mini").out
    (place / "both.tsv").write_bytes(rows)
    assert plot("both.tsv", "--plot").out == rows


@pytest.mark.parametrize("ref", ["gpt-mini", "gpt-mini@200", "runs/gpt-mini", "runs/gpt-mini/metrics.jsonl"])
def test_a_run_can_be_named_in_every_way(ref, plot):
    body = json.loads(plot(ref, "--plot", "--json").out)
    assert body["schema"] == "llmkit/plot/1"
    (run,) = body["runs"]
    assert (run["run"], run["steps"], run["end"], len(run["points"])) == ("gpt-mini", 300, None, 20)
    assert run["best"]["step"] == 100


def test_a_recipe_stands_for_its_own_run(plot, place):
    text = "name: first\nmodel: {family: gpt2, d_model: 8, n_layers: 1, n_heads: 1}\ntokenizer: {algorithm: char}\n"
    (place / "mine.yaml").write_text(text + "objective: {name: causal}\n")
    assert plot("mine.yaml", "--plot").out == plot("first", "--plot").out
    assert "has no run" in plot("bert-mini", "--plot").err


def test_without_a_name_the_newest_run_is_drawn(plot):
    done = plot("--plot")
    assert "the newest run: " in done.err
    assert done.out.count(b"\n") in (21, 31)


def test_runs_of_one_name_are_told_apart(plot, place):
    write_run(place / "other" / "first", 5)
    body = json.loads(plot("--plot", "first", "other/first", "--json").out)
    assert [r["run"] for r in body["runs"]] == ["runs/first", "other/first"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("firts", "--plot"), "no run 'firts'"),
        (("runs", "--plot"), "holds no metrics.jsonl"),
        (("./nowhere", "--plot"), "is not there"),
        (("first", "--plot", "--x", "step"), "did you mean"),
        (("first", "--plot", "--y", "los"), "no run has a number 'los'"),
        (("first", "gpt-mini"), "one is trained at a time"),
        ((), "missing argument 'RECIPE'"),
    ],
)
def test_wrong_words_are_told(words, complaint, plot):
    done = plot(*words)
    assert done.code == 2
    assert complaint in done.err


def test_a_log_is_not_overwritten_by_its_picture(plot, place):
    before = (place / "runs/first/metrics.jsonl").read_bytes()
    assert plot("first", "--plot", "--svg", "runs/first/metrics.jsonl").code == 2
    assert (place / "runs/first/metrics.jsonl").read_bytes() == before


def test_a_picture_is_written(plot, place):
    assert plot("first", "gpt-mini", "--plot", "--svg", "both.svg", "--x", "tokens").code == 0
    assert "<svg" in (place / "both.svg").read_text()


def test_a_terminal_gets_curves_and_a_line_for_each_run(on_terminal, place):
    done = on_terminal("pretrain", "--plot", "first", "gpt-mini", "--store", "runs")
    assert "200 of 300" in done.shown
    assert "▲" in done.shown
    assert any("\u2800" < c <= "\u28ff" for c in done.shown)


def test_without_colour_runs_are_told_apart_by_letters(on_terminal, place, monkeypatch):
    monkeypatch.setattr("llmkit.render.console._choice", "auto")  # put back what the flag changes, for other tests
    done = on_terminal("--color", "never", "pretrain", "--plot", "first", "gpt-mini", "--store", "runs")
    assert "\x1b[3" not in done.shown
    assert "a ● first" in done.shown
    assert "b ▲ gpt-mini" in done.shown


def test_drawing_needs_no_torch(place):
    program = (
        "import sys\n"
        "from llmkit.cli.app import run\n"
        "code = run(['pretrain', 'first', '--plot', '--store', 'runs', '--svg', 'a.svg', '--json'])\n"
        "sys.exit(code or 'torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL).returncode == 0
