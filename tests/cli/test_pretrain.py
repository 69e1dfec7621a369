"""`llmkit pretrain` as it is typed, on a model that trains in a second."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

RECIPE = """
name: tiny
model: {family: gpt2, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 16, dropout: 0.1}
tokenizer: {algorithm: char}
data: {train: stories, stories: 30, validation_fraction: 0.1}
objective: {name: causal}
train:
  {steps: 6, batch_size: 2, seq_len: 16, accumulate: 2, lr: 3.0e-3, log_every: 1, eval_every: 3, save_every: 2,
   keep: 2, sample_every: 3, sample_prompt: One day, threads: 1, device: cpu}
"""
BERT = """
name: tiny-bert
model: {family: bert, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 32}
tokenizer: {algorithm: ALGORITHM, vocab_size: 400}
data: {train: stories, stories: 30, validation_fraction: 0.1}
objective: {name: masked, next_sentence: PAIRS}
train: {steps: 3, batch_size: 2, seq_len: 32, lr: 1.0e-3, sample_every: 3, threads: 1, device: cpu}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def pretrain(llmkit, place):
    return lambda *flags, recipe="tiny.yaml": llmkit("pretrain", recipe, "--store", "runs", *flags)


def records(place, run="tiny"):
    return [json.loads(line) for line in (place / "runs" / run / "metrics.jsonl").read_text().splitlines()]


def losses(place, run="tiny"):
    return [(r["step"], r["loss"]) for r in records(place, run) if r["event"] == "step"]


def tensors(place, step, run="tiny"):
    directory = place / "runs" / run / f"step-{step:06d}"
    return [(directory / f).read_bytes() for f in ("model.safetensors", "state.safetensors", "state.json")]


def test_a_recipe_becomes_checkpoints_metrics_and_a_path_on_stdout(pretrain, place):
    done = pretrain()
    assert done.code == 0
    assert done.out == b"runs/tiny\n"
    assert "step=6 loss=" in done.err
    assert "bits_per_byte=" in done.err
    assert 'sample "One day" ->' in done.err
    assert sorted(p.name for p in (place / "runs" / "tiny").glob("step-*")) == ["step-000004", "step-000006"]
    assert [s for s, _ in losses(place)] == [1, 2, 3, 4, 5, 6]


def test_the_checkpoint_opens_in_llmkit_and_in_transformers(pretrain, place):
    import torch
    from transformers import AutoModelForCausalLM

    import llmkit

    pretrain()
    ours = llmkit.load("tiny", store=place / "runs")
    theirs = AutoModelForCausalLM.from_pretrained(ours.path).eval()
    ids = torch.tensor([ours.tokenizer.encode("Once upon a")])
    torch.testing.assert_close(ours.model(ids).logits, theirs(ids).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("algorithm", "pairs"), [("wordpiece", "true"), ("bpe", "false")])
def test_masked_training_works_with_every_kind_of_tokenizer(algorithm, pairs, pretrain, place):
    (place / "bert.yaml").write_text(BERT.replace("ALGORITHM", algorithm).replace("PAIRS", pairs))
    done = pretrain(recipe="bert.yaml")
    assert done.code == 0, done.err
    assert "masked_accuracy=" in done.err
    assert ("next_sentence_accuracy=" in done.err) == (pairs == "true")
    assert "[MASK]" in done.err


def test_the_same_command_again_says_that_the_run_is_finished(pretrain, place):
    pretrain()
    before = tensors(place, 6)
    again = pretrain()
    assert again.code == 0
    assert again.out == b"runs/tiny\n"
    assert "finished: 6 of 6 steps" in again.err
    assert tensors(place, 6) == before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP"])
def test_a_signal_saves_and_the_same_command_goes_on_to_the_same_end(name, pretrain, place, monkeypatch):
    from llmkit.training.trainer import Trainer

    pretrain("--run", "whole")
    real = Trainer._log

    def log(self, *args):
        real(self, *args)
        if self.progress.step == 3:
            os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(Trainer, "_log", log)
    stopped = pretrain()
    monkeypatch.setattr(Trainer, "_log", real)
    assert stopped.code == (130 if name == "SIGINT" else 75)
    assert f"stopped by {name} at step 3; checkpoint saved (runs/tiny@3). Run the same command to go on." in stopped.err
    resumed = pretrain()
    assert resumed.code == 0
    assert "resume step=3" in resumed.err
    assert losses(place) == losses(place, "whole")
    for ours, theirs in zip(tensors(place, 6), tensors(place, 6, "whole"), strict=True):
        assert ours == theirs


SLOW_START = """
import os, signal, sys, time
from llmkit.cli.app import run
from llmkit.training import prepare

def slow(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)

prepare.prepare = slow
sys.exit(run(["pretrain", "tiny.yaml", "--store", "runs"]))
"""


def test_a_signal_while_getting_ready_ends_at_once_with_nothing_left(place):
    # A process of its own: nothing is lost yet, so the program ends inside the handler.
    began = time.monotonic()
    stopped = subprocess.run([sys.executable, "-c", SLOW_START], capture_output=True, text=True)
    assert stopped.returncode == 143
    assert "nothing to save yet" in stopped.stderr
    assert time.monotonic() - began < 25
    assert not (place / "runs" / "tiny").exists()


def test_a_longer_run_is_refused_until_allowed_unless_the_past_would_have_been_the_same(pretrain, place):
    pretrain()
    refused = pretrain("--set", "train.steps=8")
    assert refused.code == 2
    assert "train.steps: 6 -> 8" in refused.err
    assert "--allow-change train.steps" in refused.err
    allowed = pretrain("--set", "train.steps=8", "--allow-change", "train.steps")
    assert allowed.code == 0
    assert losses(place)[-1][0] == 8

    constant = ("--run", "constant", "--set", "train.schedule=constant")
    pretrain(*constant)
    assert pretrain(*constant, "--set", "train.steps=8").code == 0
    pretrain("--run", "at-once", "--set", "train.schedule=constant", "--set", "train.steps=8")
    assert losses(place, "constant") == losses(place, "at-once")
    assert tensors(place, 8, "constant")[0] == tensors(place, 8, "at-once")[0]


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("train.lr=0.5", "train.lr: 0.003 -> 0.5"),
        ("model.d_model=32", "model.d_model: 16 -> 32"),
        ("data.stories=31", "data.stories: 30 -> 31"),
    ],
)
def test_a_changed_recipe_is_refused_with_the_difference(flag, told, pretrain, place):
    pretrain()
    before = tensors(place, 6)
    refused = pretrain("--set", flag)
    assert refused.code == 2
    assert told in refused.err
    assert tensors(place, 6) == before


@pytest.mark.parametrize("flags", [(), ("--dry-run",)])
def test_an_allowed_change_must_name_a_key(flags, pretrain, place):
    for key, told in (("train.stps", "did you mean 'train.steps'"), ("max_steps", "'train.steps'"), ("x.y", "schema")):
        refused = pretrain(*flags, "--allow-change", key)
        assert refused.code == 2
        assert f"--allow-change names no key of a recipe: '{key}'" in refused.err
        assert told in refused.err
    assert not (place / "runs").exists()


def test_every_key_that_could_be_refused_can_be_allowed():
    from llmkit.recipe import builtin_names, load_recipe
    from llmkit.recipe.keys import all_specs
    from llmkit.recipe.resolved import flatten

    for name in builtin_names():
        assert flatten(load_recipe(name)).keys() <= all_specs(None).keys()


def test_changing_what_is_only_written_down_is_no_change(pretrain, place):
    pretrain("--set", "train.schedule=constant")
    changes = ("schedule=constant", "steps=7", "log_every=7", "keep=1", "eval_every=0")
    assert pretrain(*(word for change in changes for word in ("--set", f"train.{change}"))).code == 0


def test_changed_text_is_refused(pretrain, place):
    (place / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 40)
    flags = ("--set", "data.train=text.txt", "--set", "train.schedule=constant")
    assert pretrain(*flags).code == 0
    (place / "text.txt").write_text("the lazy dog jumps over the quick brown fox. " * 40)
    refused = pretrain(*flags, "--set", "train.steps=7")
    assert refused.code == 4
    assert "training text is not the one" in refused.err
    assert "as many documents and tokens, but not the same" in refused.err
    (place / "text.txt").write_text("the lazy dog jumps over the quick brown fox. " * 41)
    longer = pretrain(*flags, "--set", "train.steps=7")
    assert re.search(r"was trained with: [\d,]+ tokens became [\d,]+", longer.err)
    assert pretrain(*flags, "--set", "train.steps=7", "--allow-change", "data.train").code == 0


def test_a_changed_tokenizer_is_refused_and_one_that_has_gone_is_not_missed(pretrain, place):
    from llmkit.tokenization.train import train

    train(["abc def ghi jkl mno pqrs tuvw xyz " * 9], algorithm="bpe", vocab_size=300).save(place)
    flags = ("--set", "tokenizer.path=tokenizer.json", "--set", "train.schedule=constant")
    assert pretrain(*flags).code == 0
    train(["zyx wvu tsr qpo nml kji hgf edcba " * 9], algorithm="bpe", vocab_size=300).save(place)
    refused = pretrain(*flags, "--set", "train.steps=7")
    assert refused.code == 4
    assert re.search(r"the tokenizer is not the one .*: as many tokens, .*id \d+ was '\w+' and is '\w+'", refused.err)
    (place / "tokenizer.json").unlink()
    assert pretrain(*flags, "--set", "train.steps=7").code == 0


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning_and_made_again(pretrain, place):
    pretrain("--run", "whole")
    pretrain()
    weights = place / "runs" / "tiny" / "step-000006" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-9] ^= 1
    weights.write_bytes(data)
    again = pretrain()
    assert again.code == 0
    assert "step 6 is not usable" in again.err
    assert "resume step=4" in again.err
    assert tensors(place, 6) == tensors(place, 6, "whole")
    assert losses(place) == losses(place, "whole")


def test_a_run_in_use_is_refused_before_torch_is_thought_of(place):
    run = place / "runs" / "tiny"
    run.mkdir(parents=True)
    with (run / "run.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code = (
            "import sys; from llmkit.cli.app import run; "
            "code = run(['pretrain', 'tiny.yaml', '--store', 'runs']); print('torch' in sys.modules); sys.exit(code)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True)
    assert done.returncode == 7
    assert "in use" in done.stderr
    assert done.stdout == "False\n"


def test_json_events_go_to_stdout_and_the_last_names_the_run(pretrain, place):
    done = pretrain("--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [e["event"] for e in events if e["event"] != "step"] == (
        ["start", "checkpoint", "eval", "sample", "checkpoint", "eval", "sample", "checkpoint", "end", "result"]
    )
    assert all(e["schema"] == "llmkit/train/1" for e in events)
    assert events[-1]["path"] == "runs/tiny"
    assert done.err == ""


def test_quiet_leaves_the_path_only(pretrain, place):
    done = pretrain("--quiet")
    assert (done.out, done.err) == (b"runs/tiny\n", "")


def test_a_dead_reader_of_the_log_does_not_stop_the_run_and_nothing_slow_is_imported(place):
    code = (
        "import sys; from llmkit.cli.app import run; code = run(['pretrain', 'tiny.yaml', '--store', 'runs']);"
        "slow = [m for m in ('torch._dynamo', 'transformers', 'torch._inductor', 'sympy') if m in sys.modules];"
        "open('slow', 'w').write(repr((code, slow)))"
    )
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], cwd=place, stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    process.wait(60)
    assert (place / "slow").read_text() == "(0, [])"
    assert (place / "runs" / "tiny" / "step-000006" / "manifest.json").exists()


def test_a_recipe_that_asks_for_a_compiler_trains_without_one_and_says_so(pretrain, place, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    done = pretrain("--set", "train.compile=true", "--set", "train.steps=2")
    assert done.code == 0
    assert "no C++ compiler (no-such-compiler) is here; the model trains uncompiled" in done.err


def test_what_weights_and_ids_depend_on_cannot_change_in_a_run_and_no_flag_is_offered_for_it(pretrain, place):
    constant = ("--set", "train.schedule=constant", "--set", "train.steps=9")
    assert pretrain("--set", "train.schedule=constant").code == 0
    for key, value in (("model.d_model", 8), ("tokenizer.algorithm", "bpe"), ("train.optimizer", "muon")):
        for flags in ((), ("--allow-change", key)):
            refused = pretrain(*constant, "--set", f"{key}={value}", *flags)
            assert refused.code == 2
            assert "what cannot change in a run" in refused.err
            assert f"{key}: " in refused.err
            assert "--allow-change" not in refused.err
    other = pretrain(*constant, "--set", "model.family=llama")
    assert "holds another run: gpt2 on causal, 6 steps; the recipe says llama on causal" in other.err
    assert other.err.count("\n") <= 2
    assert pretrain(*constant, "--set", "model.dropout=0", "--allow-change", "model.dropout").code == 0


def test_a_finished_run_says_what_it_takes_to_go_on(pretrain, place):
    assert pretrain().code == 0
    said = pretrain().err
    assert "raise train.steps and add --allow-change train.steps" in said
    assert pretrain("--set", "train.steps=8", "--allow-change", "train.steps").code == 0
    assert pretrain("--run", "even", "--set", "train.schedule=constant").code == 0
    assert "To go on, raise train.steps; to start" in pretrain("--run", "even", "--set", "train.schedule=constant").err


def test_a_preview_of_a_sweep_is_refused_before_anything_is_trained(pretrain, place):
    assert pretrain("--preview", "1", "--sweep", "train.lr=1,2").code == 2
    assert not (place / "runs").exists()


def test_a_picture_does_not_replace_a_file_that_is_none(pretrain, place):
    assert pretrain().code == 0
    before = (place / "tiny.yaml").read_bytes()
    refused = pretrain("--plot", "--svg", "tiny.yaml", "--run", "tiny")
    assert refused.code == 2
    assert "is no SVG" in refused.err
    assert (place / "tiny.yaml").read_bytes() == before
    for _ in range(2):
        assert pretrain("--plot", "--svg", "curve.svg", "--run", "tiny").code == 0


def test_what_makes_pairs_is_refused_where_single_texts_are_read(pretrain, place):
    refused = pretrain("--set", "data.pair=mirror")
    assert refused.code == 2
    assert "data.pair makes pairs of texts, and causal reads single texts" in refused.err
