"""What a cache refuses and keeps."""

import pytest
import torch

from llmkit.nn.cache import KVCache


@pytest.mark.parametrize("written", [1, 2])
def test_rows_of_another_batch_are_not_spread_over_the_cache(written):
    cache, full = KVCache(1, 3, 8), torch.randn(3, 2, 4, 5)
    cache.extend_positions(torch.arange(4)[None])
    cache.extend(0, full, full)
    cache.advance(4)
    cache.extend_positions(torch.arange(4, 5)[None])
    part = torch.randn(written, 2, 1, 5)
    with pytest.raises(AssertionError):
        cache.extend(0, part, part)


def test_truncating_keeps_what_cross_attention_read():
    cache, pair = KVCache(1, 1, 8), (torch.randn(1, 2, 6, 5), torch.randn(1, 2, 6, 5))
    assert cache.remember(0, lambda: pair) is pair
    cache.truncate(0)
    assert cache.remember(0, lambda: (pair[1], pair[0])) is pair
