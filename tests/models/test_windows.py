"""Texts longer than the sliding window: a cache that forgets what nobody can see any more changes nothing."""

import pytest
import torch

from llmkit.models.registry import load_family

SEQ = 29
CHUNKINGS = {
    "one by one": (1,) * SEQ,
    "in one piece": (SEQ,),
    "long, then one by one": (17, *(1,) * 12),
    "pieces longer than the window": (7, 11, 10, 1),
    "pieces of all lengths": (2, 1, 14, 1, 1, 5, 3, 2),
}


def windowed(window, oracle):
    family = load_family("mistral")
    sizes = {"vocab_size": 53, "d_model": 24, "n_layers": 3, "n_heads": 6, "n_kv_heads": 2}
    model = family.build(family.config_class(**sizes, max_seq_len=64, window=window)).eval()
    oracle.spread(model, seed=window)
    return model


def texts(padded):
    ids = torch.randint(1, 53, (3, SEQ), generator=torch.Generator().manual_seed(0))
    real = torch.arange(SEQ)[None] >= torch.tensor([0, 9, SEQ - 2])[:, None] * padded
    return ids, real.long()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("chunks", CHUNKINGS.values(), ids=CHUNKINGS)
@pytest.mark.parametrize("window", [1, 2, 3, 8, 28, 29, 40])
@torch.no_grad()
def test_any_way_to_feed_a_long_text_equals_the_full_pass(window, chunks, padded, oracle):
    model = windowed(window, oracle)
    ids, mask = texts(padded)
    full = model.encode(ids, mask)
    cache, start, pieces = model.new_cache(3, SEQ), 0, []
    for chunk in chunks:
        end = start + chunk
        pieces.append(model.encode(ids[:, start:end], mask[:, :end], cache=cache))
        assert cache.held <= window - 1 or window >= SEQ
        start = end
    real = mask.bool()
    assert torch.allclose(torch.cat(pieces, 1)[real], full[real], atol=2e-5)


@torch.no_grad()
def test_a_token_hears_of_what_lies_a_window_further_back_in_each_layer(oracle):
    """Three layers with a window of 4: what stands 9 tokens before is heard of, what stands 10 before is not."""
    model = windowed(4, oracle)
    ids, _ = texts(padded=False)
    before = model.encode(ids)
    for distance, is_heard in ((9, True), (10, False)):
        changed = ids.clone()
        changed[:, -1 - distance] = 0
        difference = (model.encode(changed) - before)[:, -1].abs().max()
        assert (difference > 1e-4) if is_heard else (difference == 0)


@torch.no_grad()
def test_decoding_past_the_window_equals_the_cache_of_transformers(oracle):
    pair = oracle.make_pair("mistral", "window")
    ids = pair.batch()["input_ids"]
    cache, theirs = pair.ours.new_cache(len(ids), pair.seq), None
    for piece in ids.split([9, 1, 1, 6, *[1] * (pair.seq - 17)], 1):
        logits = pair.ours.head(pair.ours.encode(piece, cache=cache))
        expected = pair.theirs(input_ids=piece, past_key_values=theirs, use_cache=True)
        theirs = expected.past_key_values
        assert torch.allclose(logits, expected.logits, atol=oracle.tolerance(pair, pair.batch()))
