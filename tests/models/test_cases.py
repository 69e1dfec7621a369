"""The awkward cases are what they are picked for."""

import torch

from llmkit.nn.attention import Attention
from llmkit.nn.feedforward import GatedFeedForward


def frequencies_move(model):
    """Whether the rotary frequencies differ between texts of 1 to 13 tokens."""
    if not getattr(model.rotary, "changes_with_length", False):
        return False
    first, *others = [model.rotary._at_length(torch.arange(n)[None]) for n in range(1, 14)]
    return not all(torch.equal(first, other) for other in others)


def test_every_case_has_just_the_traits_it_is_picked_by(case, pair, oracle):
    attention = next(m for m in pair.ours.modules() if isinstance(m, Attention))
    assert oracle.has("grouped", *case) == (1 < attention.n_kv_heads < attention.n_heads)
    assert oracle.has("gated", *case) == any(isinstance(m, GatedFeedForward) for m in pair.ours.modules())
    assert oracle.has("moving", *case) == frequencies_move(pair.ours) != oracle.has("steady", *case)
