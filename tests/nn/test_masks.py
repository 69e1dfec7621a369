"""make_mask picks the cheapest mask that lets each query see what it may, and nothing else."""

import pytest
import torch

from llmkit.nn.kernels import attention_weights, eager_attention, fused_attention, stored_attention
from llmkit.nn.masks import AttentionMask, make_mask, places_in_documents


def visible(mask, queries, keys):
    """(batch, queries, keys) booleans: where attention weights are not zero."""
    q, k = torch.zeros(2, 1, queries, 4), torch.zeros(2, 1, keys, 4)
    return attention_weights(q, k, mask, scale=1.0)[:, 0] > 0


def allowed(queries, keys, causal, key_mask=None):
    """The definition, spelled out token by token."""
    table = torch.zeros(2, queries, keys, dtype=torch.bool)
    for b in range(2):
        for i in range(queries):
            for j in range(keys):
                real = key_mask is None or bool(key_mask[b, j])
                table[b, i, j] = real and (not causal or j <= keys - queries + i)
    return table


def test_without_padding_no_matrix_is_built():
    assert make_mask(5, 5, causal=False) == AttentionMask(None, False)
    assert make_mask(5, 5, causal=True) == AttentionMask(None, True)
    assert make_mask(1, 9, causal=True) == AttentionMask(None, False)


def test_the_kernel_flag_is_never_used_when_a_cache_makes_keys_longer():
    mask = make_mask(3, 8, causal=True)
    assert not mask.causal
    assert mask.bias is not None


@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (1, 6), (3, 6), (2, 7)])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_each_query_sees_what_it_may(queries, keys, causal, side):
    key_mask = None
    if side:
        key_mask = torch.ones(2, keys, dtype=torch.long)
        key_mask[1, :2] = side != "left"
        key_mask[1, -2:] &= int(side != "right")
    expected = allowed(queries, keys, causal, key_mask)
    got = visible(make_mask(queries, keys, causal=causal, key_mask=key_mask), queries, keys)
    seeing = expected.any(-1)
    assert torch.equal(got[seeing], expected[seeing])
    assert got[~seeing].all(), "a query that may see nothing sees everything, so that nothing becomes NaN"


def test_a_score_bias_is_added_and_padding_still_hides():
    bias = torch.randn(1, 2, 4, 4)
    alone = make_mask(4, 4, causal=False, score_bias=bias)
    assert alone.bias is bias
    both = make_mask(4, 4, causal=True, key_mask=torch.tensor([[1, 1, 0, 1]]), score_bias=bias)
    assert torch.equal(both.bias[0, :, 3, :2], bias[0, :, 3, :2])
    assert both.bias[0, 0, 3, 2] == -float("inf")
    assert both.bias[0, 0, 1, 3] == -float("inf")


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("queries", [1, 3, 7])
@pytest.mark.parametrize("padded", [False, True])
def test_both_kernels_agree(kv_heads, queries, padded):
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 4, queries, 8), torch.randn(2, kv_heads, 7, 8), torch.randn(2, kv_heads, 7, 8)
    key_mask = torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]]) if padded else None
    mask = make_mask(queries, 7, causal=True, key_mask=key_mask)
    fused = fused_attention(q, k, v, mask, scale=0.7, dropout=0.0)
    eager = eager_attention(q, k, v, mask, scale=0.7, dropout=0.0)
    assert torch.allclose(fused, eager, atol=1e-6)
    assert fused.isfinite().all()


@pytest.mark.parametrize("kv_heads", [1, 4])
@pytest.mark.parametrize("kind", ["free", "causal", "padded", "biased"])
def test_the_stored_kernel_and_its_backward_pass_agree(kind, kv_heads):
    torch.manual_seed(0)
    inputs = [torch.randn(2, heads, 7, 8, requires_grad=True) for heads in (4, kv_heads, kv_heads)]
    key_mask = torch.tensor([[1] * 7, [0, 0, 1, 1, 1, 1, 1]]) if kind == "padded" else None
    score_bias = torch.randn(1, 4, 7, 7) if kind == "biased" else None
    mask = make_mask(7, 7, causal=kind == "causal", key_mask=key_mask, score_bias=score_bias)
    found = []
    for kernel in (eager_attention, stored_attention):
        out = kernel(*inputs, mask, scale=0.7, dropout=0.0)
        found.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(stored_attention(*inputs, mask, scale=0.7, dropout=0.0), found[1][0])


def test_the_stored_kernel_hands_a_bias_that_learns_and_dropout_to_the_sum_spelled_out():
    torch.manual_seed(0)
    q = torch.randn(1, 2, 5, 8)
    bias = torch.zeros(1, 2, 5, 5, requires_grad=True)
    stored_attention(q, q, q, AttentionMask(bias=bias), scale=1.0, dropout=0.0).square().sum().backward()
    assert bias.grad is not None
    assert bias.grad.abs().max() > 0
    ones = torch.ones_like(q)
    dropped = stored_attention(q, q, ones, AttentionMask(), scale=1.0, dropout=0.5)
    assert not torch.allclose(dropped, ones)


def test_the_stored_kernel_keeps_its_products_and_weights_in_the_type_of_autocast():
    torch.manual_seed(0)
    q = torch.randn(1, 2, 5, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = stored_attention(q, q, q, AttentionMask(causal=True), scale=0.3, dropout=0.0)
    exact = stored_attention(q, q, q, AttentionMask(causal=True), scale=0.3, dropout=0.0)
    assert out.dtype is torch.bfloat16
    assert {t.dtype for t in out.grad_fn.saved_tensors} == {torch.bfloat16}
    rounded, precise = (torch.autograd.grad(y.float().square().sum(), q)[0] for y in (out, exact))
    assert rounded.dtype is torch.float32
    assert (rounded - precise).norm() < 0.02 * precise.norm()


def test_half_precision_masks_do_not_overflow():
    mask = make_mask(4, 6, causal=True, key_mask=torch.tensor([[0, 0, 0, 0, 1, 1]]), dtype=torch.float16)
    assert mask.bias.dtype == torch.float16
    q = torch.full((1, 1, 4, 2), 200.0, dtype=torch.float16)
    out = fused_attention(q, q.repeat(1, 1, 2, 1)[:, :, :6], torch.ones(1, 1, 6, 2).half(), mask, scale=1, dropout=0)
    assert out.isfinite().all()


def test_documents_are_blocks_along_the_diagonal_and_padding_still_hides():
    documents = torch.tensor([[0, 0, 1, 1, 2], [5, 5, 5, 5, 4]])
    key_mask = torch.tensor([[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    expected = allowed(5, 5, True, key_mask) & (documents[:, :, None] == documents[:, None, :])
    got = visible(make_mask(5, 5, causal=True, documents=documents, key_mask=key_mask), 5, 5)
    seeing = expected.any(-1)
    assert torch.equal(got[seeing], expected[seeing])
    assert places_in_documents(documents).tolist() == [[0, 1, 0, 1, 0], [0, 1, 2, 3, 0]]


def test_a_prefix_opens_its_own_part_of_the_future():
    expected = allowed(5, 5, True)
    expected[0, :3, :3] = True
    prefix = torch.tensor([3, 1])
    assert torch.equal(visible(make_mask(5, 5, causal=True, prefix=prefix), 5, 5), expected)
    apart = torch.tensor([[0, 0, 1, 1, 1]] * 2)
    expected &= apart[:, :, None] == apart[:, None, :]
    assert torch.equal(visible(make_mask(5, 5, causal=True, prefix=prefix, documents=apart), 5, 5), expected)
