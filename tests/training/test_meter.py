import numpy as np
import pytest
import torch

from llmkit.models.registry import load_family
from llmkit.recipe.schema import TrainSettings
from llmkit.training import meter as module
from llmkit.training.events import Start, Step
from llmkit.training.flops import step_flops
from llmkit.training.meter import Meter, batch_flops
from llmkit.training.objectives.causal import Causal
from llmkit.training.objectives.objective import Batch

SETTINGS = TrainSettings(batch_size=2, seq_len=16)
START = Start(0, "a", 10, 100, 2, 32, "cpu", 1, 50)


def step(rate, seconds=1.0):
    return Step(1, 2.5, {}, 1e-3, 0.5, 32, rate, 1.0, seconds)


@pytest.fixture
def model():
    family = load_family("gpt2")
    return family.build(
        family.config_class(vocab_size=50, d_model=16, n_layers=1, n_heads=2, max_seq_len=16, head="causal_lm")
    )


@pytest.fixture
def meter(model, monkeypatch):
    monkeypatch.setattr(module, "matrix_limit", lambda device, dtype: 1e9)
    monkeypatch.setattr(module, "raise_limit", lambda device, dtype, reached: None)
    objective = Causal(np.arange(400) % 50, seq_len=16, seed=0)
    return Meter(model, objective, SETTINGS, torch.device("cpu"), torch.float32, seconds=30.0)


def test_a_step_tells_its_share_of_the_limit_and_the_seconds_of_the_whole_run(meter, model):
    start = meter(START)
    assert start.limit_flops == 1e9
    assert start.flops_per_token == pytest.approx(step_flops(model, examples=2, seq_len=16) / 32)
    measured = meter(step(rate=0.25e9 / start.flops_per_token))
    assert measured.utilisation == pytest.approx(0.25)
    assert measured.seconds == 31.0


def test_nothing_uses_more_than_all_of_the_machine(meter):
    rate = 1.25e9 / meter(START).flops_per_token
    assert meter(step(rate)).utilisation == 1.0
    assert meter(step(rate / 2)).utilisation == pytest.approx(0.5)


def test_a_slip_of_the_clock_is_no_new_limit(meter):
    rate = 1e9 / meter(START).flops_per_token
    assert meter(step(1e6 * rate)).utilisation == 1.0
    assert meter(step(rate / 2)).utilisation == pytest.approx(0.5)


def test_without_a_limit_there_is_no_share(meter, monkeypatch):
    monkeypatch.setattr(module, "matrix_limit", lambda device, dtype: None)
    assert meter(START).limit_flops is None
    assert meter(step(100.0)).utilisation is None


def test_a_model_that_cannot_be_counted_is_trained_all_the_same(meter):
    meter.model = None
    assert meter(START).flops_per_token == 0.0
    assert meter(step(100.0)).utilisation is None


def built(name, head):
    family = load_family(name)
    return family.build(
        family.config_class(vocab_size=50, d_model=16, n_layers=1, n_heads=2, d_ff=64, max_seq_len=64, head=head)
    )


def test_an_encoder_decoder_is_counted_at_the_lengths_of_both_sides():
    model = built("t5", "seq2seq")
    found = batch_flops(model, Batch(counts={"token": 40}, n_examples=4, n_tokens=4 * 24 + 40))
    assert found == pytest.approx(step_flops(model, examples=4, seq_len=24, targets=40, output_len=10))


def test_a_second_network_is_counted_with_the_targets_of_its_own():
    model, partner = built("electra", "replaced_token"), built("electra", "masked_lm")
    found = batch_flops(model, Batch(counts={"generator": 9, "replaced": 60}, n_examples=4, n_tokens=60), partner)
    own = step_flops(model, examples=4, seq_len=15, targets=60)
    assert found == pytest.approx(own + step_flops(partner, examples=4, seq_len=15, targets=9))
