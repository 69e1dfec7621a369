"""A plan as a person reads it."""

import pytest

from llmkit.render.plan import duration, milliseconds, plan_lines

PLAN = {
    "run": "r", "model": "llama", "device": "cpu", "d_model": 768, "n_layers": 12, "n_heads": 12,
    "parameters": 110_000_000, "active_parameters": 110_000_000, "embedding_parameters": 11_000_000,
    "vocab_size": 8192, "steps": 100, "batch_size": 8, "accumulate": 2, "seq_len": 128, "lr": 0.001,
    "tokens_per_step": 2048, "tokens": 204_800, "tokens_per_parameter": 20.0, "epochs": 1.0, "flops": 6e15,
    "flops_6nd": 6e15, "memory_weights": 1, "memory_gradients": 1, "memory_optimizer": 2,
    "memory_activations": 4, "memory_other": 0, "memory_total": 8, "memory_available": 16, "disk_checkpoint": 1,
    "disk_total": 2, "disk_free": 3, "step_seconds": 0.44, "total_seconds": 44.0,
}  # fmt: skip


def lines(**changes):
    return "\n".join(plan_lines({**PLAN, **changes}))


def test_every_line_fits_a_terminal():
    everything = lines(tokens_per_parameter=0.3, epochs=400.0, flops=1e12, active_parameters=10**6, memory_other=9)
    assert max(map(len, everything.split("\n"))) <= 80


def test_a_part_that_is_nothing_is_left_out():
    assert "other" not in lines()
    assert "other" in lines(memory_other=5)


@pytest.mark.parametrize(("share", "is_far"), [(0.3, True), (20.0, False), (40.0, False), (1000.0, True)])
def test_tokens_far_from_twenty_per_parameter_are_remarked_on(share, is_far):
    assert ("20 make the most of the work" in lines(tokens_per_parameter=share)) == is_far


def test_the_rule_of_thumb_is_shown_where_it_is_off():
    assert "6 x parameters" not in lines()
    assert "6 x parameters" in lines(flops=9e15)


def test_many_passes_over_the_data_are_remarked_on():
    assert "teach little" not in lines(epochs=4.0)
    assert "teach little" in lines(epochs=40.0)


def test_experts_at_rest_are_told():
    assert "40 M at work on a token" in lines(active_parameters=40_000_000)
    assert "at work" not in lines()


def test_times_are_told_in_the_unit_people_use():
    assert milliseconds(0.44) == "440 ms"
    assert milliseconds(12.3) == "12 s"
    assert duration(45) == "45 s"
    assert duration(12 * 60) == "12 min"
    assert duration(3.5 * 3600) == "3.5 h"
    assert duration(20 * 86400) == "20 days"
