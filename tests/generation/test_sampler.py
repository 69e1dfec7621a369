"""transformers' logits processors are the oracle, ties and order of application included."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as hf

from llmkit.errors import UsageError
from llmkit.generation import sampler
from llmkit.generation.settings import Sampling


def logits_of(seed, vocab, *, tied, batch=3):
    logits = torch.randn(batch, vocab, generator=torch.Generator().manual_seed(seed)) * 3
    return (logits * 2).round() / 2 if tied else logits


def kept(logits):
    return logits > -math.inf


def ranked(logits):
    """Which values survive, whichever of several equal tokens they belong to: the oracle's sort is not stable."""
    return logits.sort(-1).values


cases = given(seed=st.integers(0, 10**6), vocab=st.sampled_from([1, 2, 5, 40, 700, 3000]), tied=st.booleans())


@cases
@settings(max_examples=60, deadline=None)
def test_top_k_equals_the_oracle_with_ties(seed, vocab, tied):
    logits = logits_of(seed, vocab, tied=tied)
    for k in (1, 3, vocab, vocab + 5):
        assert torch.equal(sampler.top_k(logits, k), hf.TopKLogitsWarper(k)(None, logits))


@cases
@settings(max_examples=60, deadline=None)
def test_min_p_equals_the_oracle(seed, vocab, tied):
    logits = logits_of(seed, vocab, tied=tied)
    for ratio in (0.0213, 0.3711, 0.991):
        assert torch.equal(sampler.min_p(logits, ratio), hf.MinPLogitsWarper(ratio)(None, logits))


@cases
@settings(max_examples=60, deadline=None)
def test_top_p_equals_the_oracle_with_ties(seed, vocab, tied):
    logits = logits_of(seed, vocab, tied=tied)
    for p in (0.0317, 0.5123, 0.9017, 0.9973):
        ours, theirs = ranked(sampler.top_p(logits, p)), ranked(hf.TopPLogitsWarper(p)(None, logits))
        # Sums of float32 taken in another order: one token may differ, where the mass above it is p to 1e-5.
        descending = logits.double().softmax(-1).sort(-1, descending=True).values.cumsum(-1)
        if (descending - p).abs().min() > 1e-5:
            assert torch.equal(ours, theirs)
        assert ((ours != theirs).sum(-1) <= 1).all()


@cases
@settings(max_examples=40, deadline=None)
def test_top_p_keeps_the_last_of_tied_tokens(seed, vocab, tied):
    logits = logits_of(seed, vocab, tied=True)
    for row, mask in zip(logits, kept(sampler.top_p(logits, 0.5123)), strict=True):
        lowest = row[mask].min()
        of_the_tied = mask[row == lowest].tolist()
        assert of_the_tied == sorted(of_the_tied)
        assert mask[row > lowest].all()


def test_top_p_of_equal_logits_keeps_the_fewest_that_reach_p():
    assert kept(sampler.top_p(torch.zeros(1, 4), 0.5)).tolist() == [[False, False, True, True]]
    assert kept(sampler.top_p(torch.zeros(1, 4), 0.51)).tolist() == [[False, True, True, True]]


def test_top_p_of_a_mass_wider_than_the_sorted_prefix_is_still_exact():
    logits = torch.randn(2, 4000, generator=torch.Generator().manual_seed(3)) * 0.1
    ours, theirs = kept(sampler.top_p(logits, 0.9)), kept(hf.TopPLogitsWarper(0.9)(None, logits))
    assert (ours.sum(-1) > sampler._PREFIX).all()
    assert (ours ^ theirs).sum() <= 2


@cases
@settings(max_examples=40, deadline=None)
def test_repetition_penalty_equals_the_oracle_with_tokens_seen_twice(seed, vocab, tied):
    logits = logits_of(seed, vocab, tied=tied)
    seen = torch.randint(0, vocab, (3, 7), generator=torch.Generator().manual_seed(seed))
    theirs = hf.RepetitionPenaltyLogitsProcessor(1.3)(seen, logits)
    assert torch.equal(sampler.repetition_penalty(logits, seen, 1.3), theirs)


@cases
@settings(max_examples=60, deadline=None)
def test_all_filters_apply_in_the_order_of_the_oracle(seed, vocab, tied):
    logits = logits_of(seed, vocab, tied=tied)
    seen = torch.randint(0, vocab, (3, 5), generator=torch.Generator().manual_seed(seed))
    chain = (
        hf.RepetitionPenaltyLogitsProcessor(1.2),
        hf.TemperatureLogitsWarper(0.7),
        hf.TopKLogitsWarper(20),
        hf.TopPLogitsWarper(0.8171),
        hf.MinPLogitsWarper(0.0517),
    )
    theirs = logits
    for process in chain:
        theirs = process(seen, theirs)
    drawn = []
    original = sampler.draw
    try:
        sampler.draw = lambda scores, uniforms: drawn.append(scores) or original(scores, uniforms)
        options = Sampling(temperature=0.7, top_k=20, top_p=0.8171, min_p=0.0517, repetition_penalty=1.2)
        sampler.next_token(logits, seen, torch.rand(3), options)
    finally:
        sampler.draw = original
    ours, theirs = ranked(drawn[0]), ranked(theirs)
    if not torch.allclose(ours, theirs, atol=1e-6):
        assert (kept(ours) ^ kept(theirs)).sum() == 1  # the edge of top-p, see there


def test_inputs_are_not_changed():
    logits = logits_of(0, 50, tied=True)
    before = logits.clone()
    options = Sampling(temperature=0.7, top_k=20, top_p=0.8, min_p=0.05, repetition_penalty=1.2)
    sampler.next_token(logits, torch.tensor([[1, 2]] * 3), torch.rand(3), options)
    assert torch.equal(logits, before)


def test_temperature_zero_takes_the_likeliest_after_the_penalty():
    logits = torch.tensor([[1.0, 3.0, 2.9]])
    assert sampler.next_token(logits, torch.tensor([[0]]), None, Sampling(temperature=0)).tolist() == [1]
    penalised = Sampling(temperature=0, repetition_penalty=1.5)
    assert sampler.next_token(logits, torch.tensor([[1]]), None, penalised).tolist() == [2]


def test_draws_follow_the_probabilities():
    probabilities = torch.tensor([0.5, 0.0, 0.3, 0.2])
    stream = sampler.UniformStream(0, 0)
    uniforms = torch.tensor([next(stream) for _ in range(20_000)])
    drawn = sampler.draw(probabilities.log().expand(20_000, -1), uniforms)
    share = torch.bincount(drawn, minlength=4) / 20_000
    assert share[1] == 0
    assert torch.allclose(share, probabilities, atol=0.012)  # 3.4 standard deviations


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_extreme_uniforms_never_draw_a_token_that_was_filtered_out(uniform):
    for seed in range(200):
        logits = logits_of(seed, 37, tied=False, batch=1)
        logits[:, :4] = logits[:, -4:] = -math.inf
        assert 4 <= sampler.draw(logits, torch.tensor([uniform])).item() < 33


def test_random_numbers_depend_on_seed_and_sample_only_and_leave_torch_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = [next(s) for s in [sampler.UniformStream(5, 1)] for _ in range(600)]
    stream = sampler.UniformStream(5, 1)
    assert [next(stream) for _ in range(600)] == first
    assert len({next(sampler.UniformStream(seed, sample)) for seed in range(10) for sample in range(10)}) == 100
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_seed_means_does_not_drift():
    stream = sampler.UniformStream(0, 0)
    assert [round(next(stream), 6) for _ in range(3)] == [0.936763, 0.632282, 0.593668]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_p", 0.0),
        ("top_p", 1.01),
        ("min_p", -0.1),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", math.nan),
        ("max_tokens", 0),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(UsageError, match=name):
        Sampling(**{name: value})


@pytest.mark.parametrize("cold", [1e-5, 1e-45, 1e-300])
def test_a_temperature_near_zero_is_greedy_and_never_overflows(cold):
    logits = logits_of(1, 40, tied=False)
    scaled = sampler.temperature(logits, cold)
    assert not scaled.isnan().any()
    assert torch.equal(sampler.draw(scaled, torch.tensor([0.0, 0.5, 1 - 2**-24])), logits.argmax(-1))


@pytest.mark.parametrize("penalty", [1e-308, 0.0099, 101, 1e308, math.nan])
def test_a_penalty_that_would_overflow_is_refused(penalty):
    with pytest.raises(UsageError, match="repetition_penalty"):
        Sampling(repetition_penalty=penalty)
