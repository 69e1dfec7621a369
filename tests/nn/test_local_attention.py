"""Attention in blocks equals attention under a mask, and costs what it says."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from llmkit.nn.capture import Site, capture_attention
from llmkit.nn.init import init_normal
from llmkit.nn.local_attention import LocalAttention, LocalContext, LocalPattern
from llmkit.nn.wiring import Block, Stack


def attention(window):
    torch.manual_seed(0)
    part = LocalAttention(12, 3, window=window)
    init_normal(part, 0.5)
    return part.eval()


def dense(part, x, seen, is_global, causal):
    """The same with (seq, seq) scores: local rows first, then rows of global tokens in their place."""
    batch, seq, _ = x.shape

    def split(t):
        return t.view(batch, seq, -1, 3, 4).permute(2, 0, 3, 1, 4)

    ahead = torch.arange(seq)[None] - torch.arange(seq)[:, None]
    near = (ahead.abs() <= part.window // 2) | is_global[:, None, None, :]
    past = ahead <= (0 if causal else seq)
    visible = seen[:, None, None, :] & past & (near | is_global[:, None, :, None])
    visible = visible | (~visible.any(-1, keepdim=True) & (ahead == 0))

    def attend(q, k, v):
        return ((q @ k.transpose(-1, -2) * 0.5).masked_fill(~visible, float("-inf")).softmax(-1) @ v).transpose(1, 2)

    local = attend(*split(part.qkv(x)))
    everywhere = attend(*split(part.global_q(x)), *split(part.global_kv(x)))
    y = torch.where(is_global[..., None, None], everywhere, local).flatten(2)
    return part.out(y * seen[..., None])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("seq", "window"), [(1, 2), (13, 2), (13, 40), (64, 2), (65, 6), (97, 64), (200, 80), (161, 78)]
)
def test_blocks_equal_a_mask(seq, window, causal):
    part = attention(window)
    x = torch.randn(3, seq, 12)
    seen = torch.ones(3, seq, dtype=torch.bool)
    seen[1, seq // 2 + 1 :] = False
    seen[2, : seq // 3] = False
    chosen = torch.rand(3, seq) < 0.1
    chosen[0, 0] = True
    is_global = chosen & seen
    pattern = LocalPattern(x, key_mask=seen, is_global=chosen, n_global=int(chosen.sum(1).max()), causal=causal)
    context = LocalContext(pattern=pattern, key_mask=seen)
    y, right = part(x, context), dense(part, x, seen, is_global, causal)
    assert torch.allclose(y, right, atol=1e-5)
    blocks = Stack([Block(attn=part)])
    with capture_attention(type("Model", (), {"attention_sites": {"self": Site(blocks.blocks)}})()) as maps:
        assert torch.allclose(blocks(x, context), right, atol=1e-5)
    assert maps[0].shape == (3, 3, seq, seq)
    assert torch.allclose(maps[0].sum(-1), torch.ones(()), atol=1e-5)


def test_a_pass_that_was_interrupted_leaves_no_trace():
    part, x = attention(6), torch.randn(2, 40, 12)
    pattern = LocalPattern(x, is_global=torch.arange(40)[None].expand(2, -1) == 3, n_global=1)
    context = LocalContext(pattern=pattern)
    blocks = Stack([Block(attn=part)])
    held = type("Model", (), {"attention_sites": {"self": Site(blocks.blocks)}})()
    with capture_attention(held) as right:
        blocks(x, context)

    def interrupt(*_):
        raise KeyboardInterrupt

    with capture_attention(held) as maps:
        # Between the blocks and the rows of global tokens.
        hook = part.global_q.register_forward_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            blocks(x, context)
        hook.remove()
        blocks(x, context)
    assert torch.equal(maps[0], right[0])


def test_gradients_of_blocks_equal_those_of_a_mask():
    part, x = attention(6), torch.randn(2, 70, 12)
    seen, is_global = torch.ones(2, 70, dtype=torch.bool), torch.zeros(2, 70, dtype=torch.bool)
    is_global[0, [0, 40]] = is_global[1, 7] = True
    weights = torch.randn(2, 70, 12)
    pattern = LocalPattern(x, is_global=is_global, n_global=2)
    grads = []
    for y in (part(x, LocalContext(pattern=pattern)), dense(part, x, seen, is_global, False)):
        part.zero_grad()
        (y * weights).sum().backward()
        grads.append([p.grad.clone() for p in part.parameters()])
    for ours, right in zip(*grads, strict=True):
        assert torch.allclose(ours, right, atol=1e-3, rtol=1e-4)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        made = [t for t in (out if isinstance(out, (tuple, list)) else [out]) if isinstance(t, torch.Tensor)]
        self.size = max([self.size, *(t.numel() for t in made)])
        return out


def test_memory_grows_with_the_length_not_its_square():
    part, sizes = attention(8), []
    for seq in (512, 2048):
        x = torch.randn(1, seq, 12)
        with torch.no_grad(), Largest() as largest:
            pattern = LocalPattern(x, is_global=torch.arange(seq)[None] == 0, n_global=1)
            part(x, LocalContext(pattern=pattern))
        sizes.append(largest.size)
        assert largest.size < seq * 200
    assert sizes[1] <= 4.1 * sizes[0]
