"""`llmkit pretrain` with its dial, its plan's refusals, and batches cut to fit."""

import json

import pytest

RECIPE = """
name: tiny
model: {family: gpt2, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 16}
tokenizer: {algorithm: char}
data: {train: stories, stories: 30, validation_fraction: 0.1}
objective: {name: causal}
train: {steps: 4, batch_size: 3, seq_len: 16, accumulate: 2, lr: 3.0e-3, log_every: 1, threads: 1, device: cpu,
  save_every: 2, schedule: constant}
"""
GB = 10**9


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pretrain(llmkit, place):
    return lambda *flags, recipe="tiny.yaml": llmkit("pretrain", recipe, "--store", "runs", *flags)


@pytest.fixture
def memory(monkeypatch):
    def only(n_bytes):
        for module in ("memory", "plan", "auto_batch"):
            monkeypatch.setattr(f"llmkit.training.{module}.available", lambda device: n_bytes)

    return only


def test_a_plan_shows_what_the_dial_sets(pretrain):
    flags = ("--size", "100K", "--set", "train.batch_size=2", "--set", "data.stories=30", "--dry-run", "--json")
    plan = json.loads(pretrain(*flags).out)
    assert plan["parameters"] == pytest.approx(100_000, rel=0.1)
    assert plan["tokens_per_parameter"] == pytest.approx(20, rel=0.05)
    assert plan["d_model"] > 16
    parts = ("weights", "gradients", "optimizer", "activations", "other")
    assert plan["memory_total"] == sum(plan[f"memory_{part}"] for part in parts)


def test_a_step_too_large_is_refused_with_the_batch_that_fits(pretrain, memory):
    memory(74_000_000)
    large = ("--set", "train.batch_size=512", "--set", "train.accumulate=1", "--dry-run")
    refused = pretrain(*large)
    assert refused.code == 6
    assert "activations" in refused.err
    words = refused.err.split()
    named = [w for w in words if w.startswith(("train.batch_size=", "train.accumulate="))]
    batch_size, accumulate = (int(w.rstrip(":;,").partition("=")[2]) for w in named)
    assert batch_size * accumulate == 512
    assert pretrain("--set", named[0], "--set", named[1].rstrip(":"), "--dry-run").code == 0


def test_a_model_too_large_is_refused_with_the_size_that_fits(pretrain, memory, place):
    memory(GB // 4)
    refused = pretrain("--dry-run", "--set", "model.d_model=2048", "--set", "model.n_layers=8")
    assert refused.code == 6
    assert "the largest that fits here is about --size" in refused.err
    assert not (place / "runs").exists()


def test_a_disk_too_small_is_refused_with_what_can_be_kept(pretrain, monkeypatch):
    monkeypatch.setattr("llmkit.training.disk.free_bytes", lambda path: 4 << 20)
    refused = pretrain("--set", "train.keep=9", "--set", "train.save_every=1", "--dry-run")
    assert refused.code == 74
    assert "--set train.keep=" in refused.err


def test_a_run_with_its_batch_chosen_goes_on_with_the_same_command(pretrain, place, monkeypatch):
    monkeypatch.setattr("llmkit.training.auto_batch.fits", lambda recipe, config, batch_size, *rest: batch_size <= 2)
    first = pretrain("--auto-batch", "--json")
    events = [json.loads(line) for line in first.out.splitlines()]
    chosen = next(e for e in events if e["event"] == "auto_batch")
    assert (chosen["batch_size"], chosen["accumulate"]) == (2, 3)
    monkeypatch.setattr("llmkit.training.auto_batch.fits", lambda *args: True)
    again = pretrain("--auto-batch", "--set", "train.steps=6")
    assert again.code == 0, again.err
    assert "as the run began" in again.err
    assert "step=6" in again.err


def test_a_dial_has_no_use_without_random_weights(llmkit):
    refused = llmkit("recipe", "show", "sst2", "--size", "small")
    assert refused.code == 2
    assert "the checkpoint has its size" in refused.err


def test_the_dial_shows_where_its_values_come_from(llmkit):
    shown = llmkit("recipe", "show", "llama-mini", "--size", "base", "--origin", "--set", "train.lr=1e-4")
    origins = {line.split(":")[0].strip(): line.partition("#")[2].strip() for line in shown.out.decode().splitlines()}
    assert origins["d_model"] == origins["n_layers"] == origins["steps"] == "--size base"
    assert origins["lr"] == "--set train.lr=1e-4"
