"""Documents packed into a row see nothing of each other, and a prefix is seen both ways, in every decoder family."""

import pytest
import torch

from llmkit.errors import UsageError
from llmkit.models.registry import load_family

LENGTHS = (3, 1, 5)


def refuses(model, ids, **told):
    """Whether a model that cannot do it says so."""
    with pytest.raises(UsageError, match="cannot keep documents apart"):
        model.encode(ids, **told)
    return True


@torch.no_grad()
def test_documents_in_a_row_are_read_as_if_each_were_alone(steady, oracle):
    model = steady.ours
    ids = steady.batch()["input_ids"][:, : sum(LENGTHS)]
    if not model.limits_sight:
        assert refuses(model, ids, documents=torch.zeros_like(ids))
        return
    number = torch.repeat_interleave(torch.arange(3), torch.tensor(LENGTHS))
    # Numbers may be any, and differ between rows: only where they change counts.
    documents = torch.stack([number, number + 7, torch.zeros_like(number)])
    together = model.encode(ids, documents=documents)
    for row, alone in enumerate((LENGTHS, LENGTHS, (sum(LENGTHS),))):
        apart = torch.cat([model.encode(part[None])[0] for part in ids[row].split(alone)])
        assert (together[row] - apart).abs().max() <= 1e-5 * max(1.0, float(apart.abs().max()))
    assert not torch.allclose(together[0], model.encode(ids)[0], atol=1e-3), "the numbers must have said something"


@torch.no_grad()
def test_a_prefix_is_seen_both_ways_and_what_follows_from_the_left(steady):
    model = steady.ours
    ids = steady.batch()["input_ids"][:, : 2 + sum(LENGTHS)]
    if not model.limits_sight:
        assert refuses(model, ids, prefix=torch.zeros(len(ids), dtype=torch.long))
        return
    prefix = torch.tensor([4, 2, 0])
    hidden = model.encode(ids, prefix=prefix)
    assert torch.allclose(hidden[2], model.encode(ids)[2], atol=1e-5, rtol=1e-5)
    for changed in (1, 3, 6):
        other = ids.clone()
        other[:, changed] = other[:, changed] % 20 + 1
        # Not exactly nothing: experts take their tokens together.
        moved = (model.encode(other, prefix=prefix) - hidden).abs().amax(-1) > 1e-5 * hidden.abs().max()
        for row, length in enumerate(prefix.tolist()):
            first = 0 if changed < length else changed
            assert not moved[row, :first].any(), "nothing before it changes, but for the prefix"
            is_same = bool(other[row, changed] == ids[row, changed])
            if changed < length and not is_same and model.window is None:
                assert moved[row].all(), "all of the prefix, and all that follows, looks at it"


@torch.no_grad()
def test_a_window_counts_within_the_document_and_a_prefix_is_cut_by_it():
    family = load_family("mistral")
    config = family.config_class(vocab_size=31, d_model=16, n_layers=1, n_heads=2, max_seq_len=32, window=3)
    model = family.build(config).eval()
    ids = torch.arange(12)[None]
    hidden = model.encode(ids, prefix=torch.tensor([6]))
    other = ids.clone()
    other[0, 0] = 20
    moved = (model.encode(other, prefix=torch.tensor([6])) - hidden).abs().amax(-1)[0] > 1e-7
    assert moved.tolist() == [True] * 3 + [False] * 9


@pytest.mark.parametrize("told", ["documents", "prefix"])
def test_a_model_with_a_memory_refuses(told):
    family = load_family("transformer_xl")
    model = family.build(family.config_class(vocab_size=31, d_model=16, n_layers=1, n_heads=2, max_seq_len=32))
    with pytest.raises(UsageError, match="a model with a memory cannot keep documents apart"):
        model.encode(torch.arange(4)[None], **{told: torch.zeros(1, dtype=torch.long)})
