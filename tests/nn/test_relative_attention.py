"""Attention by distance: a place with nothing to see looks everywhere alike, whatever the dtype."""

import pytest
import torch
from torch import nn

from llmkit.nn.kernels import attention_weights
from llmkit.nn.relative_attention import (
    DistanceSinusoids,
    RelativeContext,
    SegmentPairs,
    SegmentRelativeAttention,
)
from llmkit.nn.streams import TwoStreams

SEQ, WIDTH = 5, 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@torch.no_grad()
def test_a_place_with_nothing_to_see_looks_everywhere_alike(dtype):
    torch.manual_seed(0)
    part = SegmentRelativeAttention(WIDTH, 2)
    for parameter in part.parameters():
        nn.init.normal_(parameter)
    part, x = part.to(dtype), torch.randn(3, 2 * SEQ, WIDTH).to(dtype)
    blind = torch.zeros(3, 1, SEQ, 1, dtype=torch.bool)
    blind[1, :, 2] = True
    free, mapping = torch.zeros(1, 1, SEQ, SEQ, dtype=dtype), torch.eye(SEQ, dtype=dtype).expand(3, -1, -1)
    maps = []

    def record(q, k, v, mask, *, scale, dropout):
        maps.append(attention_weights(q, k, mask, scale=scale))
        return maps[-1] @ v

    part.kernel = record
    context = RelativeContext(
        distances=DistanceSinusoids(WIDTH).counted(SEQ, SEQ, causal=False, like=x),
        streams=TwoStreams(free, free, mapping, blind),
        pairs=SegmentPairs(torch.eye(SEQ, dtype=dtype)[None, None]),
    )
    part(x, context)
    places, words = maps
    assert torch.allclose(places[1, :, 2].float(), torch.full((2, SEQ), 1 / SEQ), atol=1e-3)
    uneven = (places - 1 / SEQ).abs().amax(-1, keepdim=True) > 0.01
    assert torch.equal(uneven.any(1, keepdim=True), ~blind)
    assert ((words - 1 / SEQ).abs().amax(-1) > 0.01).all()
