"""What a run shows of itself while and after it goes, on a model that trains in a second."""

import json
import os
import signal

import pytest

RECIPE = """
name: tiny
model: {family: gpt2, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 16}
tokenizer: {algorithm: char}
data: {train: stories, stories: 30, validation_fraction: 0.1}
objective: {name: causal}
train:
  {steps: 6, batch_size: 2, seq_len: 16, lr: 3.0e-3, log_every: 1, eval_every: 3, save_every: 2, threads: 1,
   device: cpu}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pretrain(llmkit, place):
    return lambda *flags: llmkit("pretrain", "tiny.yaml", "--store", "runs", *flags)


@pytest.fixture
def stopped(pretrain, monkeypatch):
    """The run, stopped after its third step."""
    from llmkit.training.trainer import Trainer

    real = Trainer._log

    def log(self, *args):
        real(self, *args)
        if self.progress.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    def run(*flags):
        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "_log", log)
            assert pretrain(*flags).code == 75

    return run


def records(place):
    return [json.loads(line) for line in (place / "runs/tiny/metrics.jsonl").read_text().splitlines()]


def test_every_face_tells_the_use_of_the_machine(pretrain, place):
    assert "utilisation=" in pretrain().err
    steps = [r for r in records(place) if r["event"] == "step"]
    assert all(0 < r["utilisation"] <= 1 for r in steps)
    start = records(place)[0]
    assert start["flops_per_token"] > 6 * 16 * 16
    assert start["limit_flops"] > 1e6
    lines = [json.loads(line) for line in pretrain("--run", "other", "--json").out.splitlines()]
    assert all("utilisation" in line for line in lines if line["event"] == "step")


def test_seconds_and_tokens_go_on_where_a_session_ended(pretrain, stopped, place):
    stopped()
    before = [r for r in records(place) if r["event"] == "step"][-1]
    pretrain()
    steps = [r for r in records(place) if r["event"] == "step"]
    assert [r["step"] for r in steps] == [1, 2, 3, 4, 5, 6]
    assert [r["tokens"] for r in steps] == [32 * n for n in range(1, 7)]
    seconds = [r["seconds"] for r in steps]
    assert seconds == sorted(seconds)
    assert seconds[3] > before["seconds"]


def test_a_stopped_run_can_be_drawn(llmkit, stopped, place):
    stopped()
    body = json.loads(llmkit("pretrain", "tiny.yaml", "--plot", "--json", "--store", "runs").out)
    (run,) = body["runs"]
    assert (run["steps"], run["end"], len(run["points"])) == (6, "stopped", 3)


def test_tensorboard_files_hold_each_step_once_over_all_sessions(pretrain, stopped, place):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    stopped("--set", "train.tensorboard=true")
    pretrain("--set", "train.tensorboard=true")
    board = event_accumulator.EventAccumulator(str(place / "runs/tiny/tb"))
    board.Reload()
    drawn = [(e.step, e.value) for e in board.Scalars("loss/train")]
    assert drawn == [(r["step"], pytest.approx(r["loss"])) for r in records(place) if r["event"] == "step"]
    assert [e.step for e in board.Scalars("loss/validation")] == [3, 6]


def test_without_the_key_there_are_no_tensorboard_files(pretrain, place):
    pretrain()
    assert not (place / "runs/tiny/tb").exists()


def test_the_key_may_be_added_to_a_going_run(pretrain, stopped, place):
    stopped()
    assert pretrain("--set", "train.tensorboard=true").code == 0
    assert (place / "runs/tiny/tb").is_dir()
