"""Parity must be able to fail: break one thing at a time, in every family that has it, and demand a difference."""

import copy
import re

import pytest
import torch
from torch import nn

from llmkit.nn.activations import ACTIVATIONS
from llmkit.nn.attention import Attention
from llmkit.nn.feedforward import FeedForward, GatedFeedForward
from llmkit.nn.kernels import fused_attention
from llmkit.nn.positions import NoRotary, Rotary
from llmkit.nn.wiring import Residual

# A hundred times what parity allows, so that no mutation passes by a hair.
VISIBLE = 1e-3


def score(model, pair, padding):
    batch = pair.batch(padding)
    with torch.no_grad():
        output = model(**batch)
        extras = [getattr(model, name)(output.hidden) for name in ("pair_head", "pooler") if hasattr(model, name)]
    main = output.logits[pair.real(batch)] if output.logits.dim() == 3 else output.logits
    return torch.cat([t.flatten() for t in (main, *extras)])


def changed(pair, mutate, padding=None):
    model = copy.deepcopy(pair.ours)
    with torch.no_grad():
        mutate(model)
    return (score(model, pair, padding) - score(pair.ours, pair, padding)).abs().max().item()


def each(model, *kinds):
    return [m for m in model.modules() if isinstance(m, kinds)]


def test_permuting_any_parameter_shows(pair):
    """Covers a forgotten bias, norm, position or segment table, and swapped or untransposed matrices."""
    kinds = {}
    for name, _ in pair.ours.named_parameters():
        kinds.setdefault(re.sub(r"\d+", "N", name), name)
    for name in kinds.values():

        def roll(model, name=name):
            parameter = model.get_parameter(name)
            parameter.copy_(parameter.roll(1, 0) if parameter.shape[0] > 1 else -parameter)

        assert changed(pair, roll) > VISIBLE, name


def test_dropping_any_bias_shows(pair):
    for name in [n for n, _ in pair.ours.named_parameters() if n.endswith("bias")]:
        assert changed(pair, lambda model, name=name: model.get_parameter(name).zero_()) > VISIBLE, name


def test_transposing_any_square_matrix_shows(pair):
    squares = [n for n, p in pair.ours.named_parameters() if p.dim() == 2 and p.shape[0] == p.shape[1]]
    for name in squares:

        def transpose(model, name=name):
            parameter = model.get_parameter(name)
            parameter.copy_(parameter.t().clone())

        assert changed(pair, transpose) > VISIBLE, name


def test_skipping_any_norm_shows(pair):
    norms = [n for n, m in pair.ours.named_modules() if type(m).__name__ in ("LayerNorm", "RMSNorm")]
    for name in norms:
        assert changed(pair, lambda model, name=name: model.set_submodule(name, nn.Identity())) > VISIBLE, name


def test_moving_a_norm_to_the_other_side_shows(pair):
    def move(model):
        for residual in each(model, Residual):
            residual.pre_norm, residual.post_norm = residual.post_norm, residual.pre_norm

    assert changed(pair, move) > VISIBLE


def test_swapping_the_norms_of_a_block_shows(pair):
    def swap(model):
        block = model.stack.blocks[0]
        first, second = block["attn"], block["ffn"]
        first.pre_norm, second.pre_norm = second.pre_norm, first.pre_norm
        first.post_norm, second.post_norm = second.post_norm, first.post_norm

    assert changed(pair, swap) > VISIBLE


def test_forgetting_a_residual_sum_shows(pair):
    class Branch(nn.Module):
        def __init__(self, residual):
            super().__init__()
            self.residual = residual

        def forward(self, x, ctx):
            return self.residual(x, ctx) - x

    for sublayer in pair.ours.stack.blocks[0]:

        def forget(model, sublayer=sublayer):
            model.stack.blocks[0][sublayer] = Branch(model.stack.blocks[0][sublayer])

        assert changed(pair, forget) > VISIBLE, sublayer


def test_dropping_a_block_or_swapping_two_shows(pair):
    def drop(model):
        del model.stack.blocks[-1]

    def swap(model):
        blocks = list(model.stack.blocks)
        model.stack.blocks = nn.ModuleList([blocks[1], blocks[0], *blocks[2:]])

    assert changed(pair, drop) > VISIBLE
    assert changed(pair, swap) > VISIBLE


def test_turning_the_causal_mask_around_shows(pair):
    def flip(model):
        model.is_causal = not model.is_causal

    assert changed(pair, flip) > VISIBLE


@pytest.mark.parametrize("padding", ["left", "right"])
def test_attending_to_padding_shows_to_every_token_that_can_see_it(pair, padding):
    batch = pair.batch(padding)
    unmasked = {k: v for k, v in batch.items() if k != "attention_mask"}
    with torch.no_grad():
        hidden, seen = pair.ours.encode(**batch), pair.ours.encode(**unmasked)
    difference = (hidden - seen)[pair.real(batch)].abs().max()
    if pair.is_decoder and padding == "right":
        assert difference <= 1e-5, "a decoder sees nothing on its right"
    else:
        assert difference > VISIBLE


def test_shifting_the_padding_mask_by_one_shows(pair):
    batch = pair.batch("left")
    shifted = batch | {"attention_mask": batch["attention_mask"].roll(-1, 1).index_fill(1, torch.tensor([12]), 1)}
    with torch.no_grad():
        difference = pair.ours.encode(**batch) - pair.ours.encode(**shifted)
    assert difference[pair.real(batch)].abs().max() > VISIBLE


def test_shifting_positions_of_every_second_token_shows(pair):
    batch = pair.batch()
    places = torch.arange(13)[None].expand(3, -1)
    with torch.no_grad():
        right = pair.ours.encode(**batch, position_ids=places)
        wrong = pair.ours.encode(**batch, position_ids=places + places % 2)
    assert (right - wrong).abs().max() > VISIBLE


def test_wrong_attention_scale_shows(pair):
    for layer in range(len(pair.ours.stack.blocks)):

        def halve(model, layer=layer):
            each(model.stack.blocks[layer], Attention)[0].scale /= 2

        assert changed(pair, halve) > VISIBLE, layer


def test_another_activation_shows(pair):
    others = {"relu": "gelu", "gelu_new": "quick_gelu"}

    def bend(model):
        name = others.get(pair.ours.config.activation, "relu")
        for part in each(model, FeedForward, GatedFeedForward):
            part.act = ACTIVATIONS[name]

    assert changed(pair, bend) > VISIBLE


def test_exchanging_gate_and_up_shows(gated):
    def exchange(model):
        for part in each(model, GatedFeedForward):
            part.gate, part.up = part.up, part.gate

    assert changed(gated, exchange) > VISIBLE


def test_forgetting_any_added_embedding_shows(pair):
    for name in pair.ours.embeddings.added:
        assert changed(pair, lambda model, name=name: model.embeddings.added.pop(name)) > VISIBLE, name


def test_another_rotation_or_none_shows(pair):
    """Models whose positions enter elsewhere must not rotate at all."""
    rotary = pair.ours.rotary
    if isinstance(rotary, NoRotary):
        head_dim = each(pair.ours, Attention)[0].head_dim
        wrong = [Rotary(head_dim, theta=10_000.0, max_seq_len=40)]
    else:
        kind, size = rotary.scaling["rope_type"], {"max_seq_len": rotary.max_seq_len}
        wrong = [NoRotary(), Rotary(rotary.head_dim, theta=rotary.theta * 2, scaling=rotary.scaling, **size)]
        if not (kind == "default" or (kind == "dynamic" and rotary.max_seq_len >= 13)):
            wrong.append(Rotary(rotary.head_dim, theta=rotary.theta, **size))
    for other in wrong:
        assert changed(pair, lambda model, other=other: setattr(model, "rotary", other)) > VISIBLE, other


def test_giving_query_heads_the_wrong_shared_key_shows(grouped):
    def tiled(q, k, v, mask, *, scale, dropout):
        times = q.shape[1] // k.shape[1]
        return fused_attention(
            q, k.repeat(1, times, 1, 1), v.repeat(1, times, 1, 1), mask, scale=scale, dropout=dropout
        )

    def share(model):
        for attention in each(model, Attention):
            attention.kernel = tiled

    assert changed(grouped, share) > VISIBLE
