"""The largest batch that fits is found, tried, and kept when the run goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import OutOfMemory
from llmkit.recipe.load import load_recipe
from llmkit.recipe.resolved import to_yaml
from llmkit.training import auto_batch
from llmkit.training.auto_batch import choose, fits
from llmkit.training.plan import sizes

CPU = torch.device("cpu")
SMALL = [
    "model.d_model=32", "model.n_layers=1", "model.n_heads=2", "model.d_ff=64", "tokenizer.vocab_size=300",
    "train.seq_len=16", "train.batch_size=6", "train.accumulate=2", "train.threads=1", "train.device=cpu",
    "data.stories=50", "train.dtype=float32",
]  # fmt: skip


@pytest.fixture
def recipe():
    return load_recipe("gpt-mini", SMALL)


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "run")


def test_all_of_a_step_goes_in_one_pass_where_it_fits(recipe, run, monkeypatch):
    monkeypatch.setattr(auto_batch, "fits", lambda *args: True)
    chosen = choose(recipe, run)
    assert (chosen.batch_size, chosen.accumulate) == (12, 1)
    applied = chosen.applied_to(recipe)
    assert (applied.train.batch_size, applied.train.accumulate) == (12, 1)
    assert applied.origins["train.batch_size"] == "--auto-batch"
    assert "12 examples a step in one pass" in chosen.words()


def test_what_the_trial_step_refutes_is_not_taken(recipe, run, monkeypatch):
    tried = []

    def refuse_large(recipe, config, batch_size, *rest):
        tried.append(batch_size)
        return batch_size <= 4

    monkeypatch.setattr(auto_batch, "fits", refuse_large)
    chosen = choose(recipe, run)
    assert tried == [12, 6, 4]
    assert (chosen.batch_size, chosen.accumulate) == (4, 3)


def test_long_examples_of_later_steps_stay_as_many(run, monkeypatch):
    recipe = load_recipe(
        "bert-mini", [*SMALL, "train.batch_size=16", "model.max_seq_len=64", "objective.long_share=0.5"]
    )
    tried = []
    monkeypatch.setattr(auto_batch, "fits", lambda recipe, config, size, *rest: tried.append(size) or size < 8)
    chosen = choose(recipe, run)
    assert tried == [32, 16, 8, 4], "2 and 1 would make a step of 8 long examples one of 16 or 32"
    assert (chosen.batch_size, chosen.accumulate) == (4, 8)


def test_with_room_for_nothing_it_says_what_would_fit(recipe, run, monkeypatch):
    monkeypatch.setattr(auto_batch, "available", lambda device: 1000)
    with pytest.raises(OutOfMemory, match="not one example"):
        choose(recipe, run)


def test_a_run_goes_on_with_the_batch_it_began_with(recipe, run, tmp_path, monkeypatch):
    monkeypatch.setattr(auto_batch, "fits", lambda *args: pytest.fail("nothing is to be tried"))
    checkpoint = tmp_path / "step-000005"
    checkpoint.mkdir()
    begun = load_recipe("gpt-mini", [*SMALL, "train.batch_size=3", "train.accumulate=4"])
    (checkpoint / "recipe.yaml").write_text(to_yaml(begun), encoding="utf-8")
    directory = SimpleNamespace(path=run.path, checkpoints=lambda: [SimpleNamespace(path=checkpoint)])
    chosen = choose(recipe, directory)
    assert (chosen.batch_size, chosen.accumulate) == (3, 4)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit needs Linux")
def test_a_step_in_a_process_of_its_own_tells_whether_memory_is_enough(recipe, run):
    config = sizes(recipe, run.path.parent)[0]
    assert fits(recipe, config, 12, CPU, run.path.parent, 2_000_000_000)
    assert not fits(recipe, config, 12, CPU, run.path.parent, 100_000)
