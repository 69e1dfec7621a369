"""A cache changes the cost of a forward pass, never its result."""

import pytest
import torch

from llmkit.errors import UsageError
from llmkit.nn.capture import capture_attention

CHUNKS = (4, 1, 1, 5, 1, 1)


def pieces(batch, chunks):
    """The arguments of each forward pass when a batch is fed piece by piece."""
    start = 0
    for chunk in chunks:
        end = start + chunk
        piece = {name: value[:, start:end] for name, value in batch.items()}
        if "attention_mask" in batch:
            piece["attention_mask"] = batch["attention_mask"][:, :end]
        yield piece
        start = end


def decode(model, batch, chunks, cache):
    return torch.cat([model.encode(**piece, cache=cache) for piece in pieces(batch, chunks)], 1)


@pytest.mark.parametrize("padding", [None, "left"])
@torch.no_grad()
def test_chunked_prefill_and_steps_equal_the_full_pass(steady, padding, oracle):
    batch = steady.batch(padding)
    full = steady.ours.encode(**batch)
    chunks = (*CHUNKS, *[1] * (steady.seq - sum(CHUNKS)))
    cached = decode(steady.ours, batch, chunks, steady.ours.new_cache(len(full), steady.seq + 7))
    assert oracle.compare(steady, batch, full, cached) <= oracle.tolerance(steady, batch)


@pytest.mark.parametrize("padding", [None, "left"])
@torch.no_grad()
def test_keys_follow_when_frequencies_move(moving, padding):
    """Deeper layers keep what they saw when the text was short; the first layer's map must be that of a full pass."""
    model, batch = moving.ours, moving.batch(padding)
    with capture_attention(model, [0]) as maps:
        model.encode(**batch)
        full = maps[0]
        decode(model, batch, CHUNKS, model.new_cache(3, 13))
    unseen = full.shape[-1] - maps[0].shape[-1]  # what a window hides, the cache no longer holds
    assert not full[:, :, -1:, :unseen].any()
    assert torch.allclose(maps[0], full[:, :, -1:, unseen:], atol=1e-5)


@torch.no_grad()
def test_truncate_forgets_and_reorder_moves_rows(steady):
    model, ids = steady.ours, steady.batch()["input_ids"]
    cache = model.new_cache(3, 13)
    model.encode(ids[:, :8], cache=cache)
    expected = model.encode(ids[:, 8:10], cache=cache)
    cache.truncate(8)
    assert cache.length == 8
    assert torch.allclose(model.encode(ids[:, 8:10], cache=cache), expected, atol=1e-5)
    cache.truncate(8)
    order = torch.tensor([2, 0, 0, 1, 2])
    cache.reorder(order)
    assert torch.allclose(model.encode(ids[order, 8:10], cache=cache), expected[order], atol=1e-5)


@torch.no_grad()
def test_too_many_tokens_are_refused_and_leave_the_cache_as_it_was(decoder):
    ids = decoder.batch()["input_ids"]
    cache = decoder.ours.new_cache(3, 8)
    decoder.ours.encode(ids[:, :6], cache=cache)
    with pytest.raises(UsageError, match="holds 8 tokens; 6 are in it and 3 more"):
        decoder.ours.encode(ids[:, 6:9], cache=cache)
    assert cache.length == 6
    with pytest.raises(UsageError, match="truncate"):
        cache.truncate(7)


@pytest.mark.parametrize("padding", [None, "left"])
@torch.no_grad()
def test_an_output_written_piece_by_piece_equals_the_full_pass(two, padding, oracle):
    batch = two.batch(padding)
    full = two.ours(**batch)
    memory, cache = two.ours.remember(batch["input_ids"], batch.get("attention_mask")), two.ours.new_cache(3, 20)
    written = batch["decoder_input_ids"]
    pieces = [two.ours.decode(piece, memory, cache=cache) for piece in written.split([4, 1, 1, 3], 1)]
    assert oracle.compare(two, batch, full.hidden, torch.cat(pieces, 1)) <= oracle.tolerance(two, batch)


@torch.no_grad()
def test_cross_attention_reads_the_input_once(two):
    """With a cache, a changed memory changes nothing any more: its keys and values were made in the first step."""
    batch = two.batch()
    memory, written = two.ours.remember(batch["input_ids"]), batch["decoder_input_ids"]
    cache = two.ours.new_cache(3, 20)
    two.ours.decode(written[:, :4], memory, cache=cache)
    expected = two.ours.decode(written[:, 4:5], memory, cache=cache)
    cache.truncate(4)
    memory.hidden = torch.full_like(memory.hidden, float("nan"))
    assert torch.equal(two.ours.decode(written[:, 4:5], memory, cache=cache), expected)


@torch.no_grad()
def test_beams_carry_their_input_along(two, oracle):
    batch = two.batch("left")
    order = torch.tensor([2, 0, 0, 1, 2])
    memory, written = two.ours.remember(batch["input_ids"], batch["attention_mask"]), batch["decoder_input_ids"]
    cache = two.ours.new_cache(3, 20)
    two.ours.decode(written[:, :4], memory, cache=cache)
    cache.reorder(order)
    moved = two.ours.remember(batch["input_ids"][order], batch["attention_mask"][order])
    beams = two.ours.decode(written[order, 4:6], moved, cache=cache)
    full = two.ours(batch["input_ids"], batch["attention_mask"], decoder_input_ids=written[:, :6]).hidden
    assert torch.allclose(beams, full[order, 4:6], atol=oracle.tolerance(two, batch))
