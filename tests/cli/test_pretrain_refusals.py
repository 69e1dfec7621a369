"""What `llmkit pretrain` says before it trains: a plan, or a refusal."""

import json

import pytest

RECIPE = """
name: tiny
model: {family: gpt2, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 16, dropout: 0.1}
tokenizer: {algorithm: char}
data: {train: stories, stories: 30, validation_fraction: 0.1}
objective: {name: causal}
train: {steps: 6, batch_size: 2, seq_len: 16, accumulate: 2, lr: 3.0e-3, log_every: 1, threads: 1, device: cpu}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pretrain(llmkit, place):
    return lambda *flags, recipe="tiny.yaml", **how: llmkit("pretrain", recipe, "--store", "runs", *flags, **how)


def test_a_dry_run_tells_what_it_takes_and_leaves_nothing(pretrain, place):
    done = pretrain("--dry-run", "--json")
    plan = json.loads(done.out)
    assert done.code == 0
    assert plan["tokens"] == 6 * 2 * 2 * 16
    assert plan["memory_optimizer"] == 2 * plan["memory_weights"] == 8 * plan["parameters"]
    assert plan["step_seconds"] > 0
    assert not (place / "runs").exists()
    pretrain()
    start = json.loads((place / "runs" / "tiny" / "metrics.jsonl").read_text().splitlines()[0])
    assert start["parameters"] == plan["parameters"]


def test_a_dry_run_refuses_what_cannot_fit(pretrain, place):
    refused = pretrain("--dry-run", "--set", "model.d_model=16384", "--set", "model.n_layers=1000")
    assert refused.code in (2, 6)
    assert not (place / "runs").exists()


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_disk_without_room_for_the_checkpoints_is_told_before_the_first_step(flags, pretrain, place, monkeypatch):
    monkeypatch.setattr("llmkit.training.disk.free_bytes", lambda path: 1 << 20)
    refused = pretrain(*flags)
    assert refused.code == 74
    assert "no room for what the run saves" in refused.err
    assert "step=1" not in refused.err
    assert not (place / "runs" / "tiny").exists()


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_a_run_and_its_plan_agree_on_what_can_be_held_out(flags, pretrain, place):
    (place / "big.txt").write_text("some words to learn from. " * 200)
    (place / "in.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n')
    share = ("--set", "data.validation_fraction=0.02")
    refused = pretrain("--set", "data.train=in.jsonl", *share, *flags)
    assert refused.code == 4
    assert "leaves nothing to read" in refused.err
    done = pretrain("--set", 'data.train=["big.txt","in.jsonl"]', *share, *flags)
    assert done.code == 0, done.err


def test_a_device_that_is_not_there_is_refused_before_the_text_is_read(pretrain, place, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused = pretrain("--device", "cuda")
    assert refused.code == 2
    assert "there is no device 'cuda' here" in refused.err
    assert "learning" not in refused.err
    assert not (place / "runs" / "tiny").exists()


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_a_column_that_must_be_named_is_wrong_use_for_both_commands(command, llmkit, place):
    (place / "u.csv").write_text("foo,bar\nx,1\ny,2\n")
    recipe = {"pretrain": "tiny.yaml", "finetune": "sst2"}[command]
    base = () if command == "pretrain" else ("--model", "bert")
    refused = llmkit(command, recipe, "--run", "u", *base, "--set", "data.train=u.csv")
    assert refused.code == 2
    assert "there is: foo, bar" in refused.err


@pytest.mark.parametrize("what", ["missing", "directory", "empty"])
def test_bad_data_is_one_clear_line(what, pretrain, place):
    (place / "empty").write_text("")
    (place / "directory").mkdir()
    done = pretrain("--set", f"data.train={what}")
    assert done.code in (4, 74)
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    assert not (place / "runs" / "tiny").exists()


def test_a_recipe_for_the_other_command_is_sent_there(pretrain, place):
    refused = pretrain(recipe="sst2")
    assert refused.code == 2
    assert "llmkit finetune sst2" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mybook.txt"], "mybook.txt is a text to train on, not a recipe"),
        (["gpt-mini", "--preview", "1", "--plot"], "--preview shows examples"),
        (["gpt-mini", "--set", "data.train=https://example.com/a.txt"], "nothing is fetched from the network"),
    ],
)
def test_what_was_meant_is_said(words, said, llmkit):
    done = llmkit("pretrain", *words)
    assert done.code == 2
    assert said in done.err


def test_names_with_a_comma_between_are_several(llmkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("words " * 100)
    done = llmkit("pretrain", "gpt-mini", "--set", "data.train=a.txt,b.txt")
    assert "put them in brackets: [a.txt,b.txt]" in done.err
