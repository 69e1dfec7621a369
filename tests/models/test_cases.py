"""The awkward cases are what they are picked for."""

import torch

from llmkit.nn.attention import Attention


def frequencies_move(model):
    """Whether the rotary frequencies differ between texts of 1 to 13 tokens."""
    if not getattr(getattr(model, "rotary", None), "changes_with_length", False):
        return False
    first, *others = [model.rotary._at_length(torch.arange(n)[None]) for n in range(1, 14)]
    return not all(torch.equal(first, other) for other in others)


def test_every_case_has_just_the_traits_it_is_picked_by(case, pair, oracle):
    shared = {1 < m.n_kv_heads < m.n_heads for m in pair.ours.modules() if isinstance(m, Attention)}
    assert oracle.is_grouped(*case) == (True in shared)
    assert oracle.is_moving(*case) == frequencies_move(pair.ours)
