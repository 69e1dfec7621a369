"""What training takes: exact where it can be, measured where it must be, and what fits where it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from llmkit.errors import OutOfMemory
from llmkit.recipe.load import load_recipe
from llmkit.training.fitting import MARGIN, fitting_batch, fitting_size, scaled_config
from llmkit.training.memory import HOLES, LIBRARIES, Footprint, Need, divisors, estimate, refuse_what_cannot_fit
from llmkit.training.peak import peak_of

CPU = torch.device("cpu")
NEED = Need(1000, 100, weights=4000, gradients=4000, optimizer=8000, activations=0)


def footprint(fixed=100.0, per_example=1000.0, scratch=0, on_host=False):
    return Footprint(NEED, fixed, per_example, scratch, on_host)


@pytest.mark.parametrize("n", [1, 2, 12, 97, 96 * 3, 1024])
def test_divisors_are_all_that_divide(n):
    assert divisors(n) == [d for d in range(1, n + 1) if n % d == 0]


def test_peak_is_the_most_that_was_there_at_once():
    def run():
        first = torch.ones(1000)
        del first
        a, b = torch.ones(2000), torch.ones(500)
        return a, b

    assert peak_of(run, CPU) == 4 * 2500


def test_gradients_of_earlier_passes_stay_beside_the_activations_of_a_later_one():
    whole, cut = footprint().need(8, 1), footprint().need(4, 2)
    assert whole.total == 4000 + 8000 + (8 * 1000 + 100)
    assert cut.total == 4000 + 8000 + 4000 + (4 * 1000 + 100)


def test_the_optimizer_s_scratch_counts_where_it_is_more():
    assert footprint(scratch=9000).need(1, 1).activations == 9000


def test_a_process_is_larger_than_its_tensors():
    inside, whole = footprint().need(8, 1), footprint(on_host=True).need(8, 1)
    assert whole.other == int(HOLES * (4000 + inside.activations) + LIBRARIES)
    assert inside.other == 0


def test_the_batch_that_is_named_divides_the_step_and_fits():
    recipe = load_recipe("gpt-mini", ["train.batch_size=48", "train.accumulate=2"])
    f, config = footprint(), scaled_config_of(recipe)
    for have in range(12_000, 120_000, 7000):
        fitting = [d for d in divisors(96) if f.need(d, 96 // d).total <= int(MARGIN * have)]
        hint = fitting_batch(recipe, config, f, have)
        assert hint is None if not fitting else f"batch_size={fitting[-1]} " in (hint or "")
        assert not fitting or f"accumulate={96 // fitting[-1]}:" in (hint or "")


def test_the_batch_that_is_named_leaves_long_examples_of_later_steps_as_many():
    wanted = ["train.batch_size=32", "train.seq_len=32", "model.max_seq_len=128", "objective.long_share=0.5"]
    recipe = load_recipe("bert-mini", wanted)
    config = scaled_config_of(recipe, "masked_lm")

    def hint(room_for):
        have = int(footprint().need(room_for, 32 // room_for).total / MARGIN) + 1
        return fitting_batch(recipe, config, footprint(), have)

    assert "batch_size=4 " in hint(4)
    # 2 examples of 32 tokens make one of 128, not half of one: a step of 8 long examples would become one of 16.
    assert hint(2) is None


def test_not_one_example_that_fits_names_no_batch():
    recipe = load_recipe("gpt-mini", [])
    assert fitting_batch(recipe, scaled_config_of(recipe), footprint(per_example=10.0**9), 40_000) is None
    assert fitting_batch(recipe, scaled_config_of(recipe), footprint(), None) is None


def test_the_size_that_is_named_fits():
    recipe = load_recipe("llama-mini", [])
    config = scaled_config(recipe, scaled_config_of(recipe), 10_000_000)
    hint = fitting_size(recipe, config, 10**9)
    assert hint is not None
    size = hint.partition("--size ")[2].split()[0]
    smaller = load_recipe("llama-mini", ["train.batch_size=1"], size=size)
    need = estimate(scaled_config_of(smaller), smaller.train, smaller.objective)
    assert need.total < 10**9
    assert need.lasting > 10**8


def scaled_config_of(recipe, head="causal_lm"):
    from llmkit.models.registry import load_family

    config_class = load_family(recipe.model.family).config_class
    return config_class(**recipe.model.fields, vocab_size=4096, head=head)


def test_a_refusal_tells_the_sum_by_part(monkeypatch):
    monkeypatch.setattr("llmkit.training.memory.available", lambda device: 10_000)
    with pytest.raises(OutOfMemory, match=r"weights 4 kB, gradients 4 kB, optimizer 8 kB") as caught:
        refuse_what_cannot_fit(NEED, CPU, lambda: "do this")
    assert caught.value.hint == "do this"


def test_a_guess_refuses_only_beyond_its_doubt(monkeypatch):
    monkeypatch.setattr("llmkit.training.memory.available", lambda device: 30_000)
    need = replace(NEED, activations=20_000)
    refuse_what_cannot_fit(need, CPU)
    with pytest.raises(OutOfMemory):
        refuse_what_cannot_fit(need, CPU, is_measured=True)
