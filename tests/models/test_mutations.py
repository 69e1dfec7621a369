"""Parity must be able to fail: break one thing at a time, in every family that has it, and demand a difference."""

import copy
import re

import pytest
import torch
from torch import nn

from llmkit.nn.activations import ACTIVATIONS
from llmkit.nn.attention import Attention, AttentionPart
from llmkit.nn.embeddings import LearnedPositions, Scale, SinusoidalPositions
from llmkit.nn.feedforward import FeedForward, GatedFeedForward
from llmkit.nn.kernels import fused_attention
from llmkit.nn.positions import NoRotary, PartialRotary, Rotary
from llmkit.nn.score_bias import NoBias
from llmkit.nn.wiring import Normed, Residual, Stack

# Ten times what parity allows, so that no mutation passes by a hair.
VISIBLE = 1e-4


def score(model, pair, padding):
    batch = pair.batch(padding)
    with torch.no_grad():
        output = model(**batch)
        extras = [getattr(model, name)(output.hidden) for name in ("pair_head", "pooler") if hasattr(model, name)]
        if hasattr(model, "streams"):
            extras.append(model.streams(**batch))
    main = output.logits[pair.real(batch)] if output.logits.dim() == 3 else output.logits
    return torch.cat([t.flatten() for t in (main, *extras)])


def changed(pair, mutate, padding=None):
    model = copy.deepcopy(pair.ours)
    with torch.no_grad():
        mutate(model)
    return (score(model, pair, padding) - score(pair.ours, pair, padding)).abs().max().item()


def each(model, *kinds):
    return [m for m in model.modules() if isinstance(m, kinds)]


def named(model, *kinds):
    return [n for n, m in model.named_modules() if isinstance(m, kinds)]


def towers(model):
    """The parts that turn ids into hidden states: the model itself, or both sides of an encoder-decoder."""
    return [model] if hasattr(model, "stack") else [model.encoder, model.decoder]


def padded(pair):
    """A side that this case can be padded on."""
    return next(iter(pair.options["paddings"]), None)


def test_permuting_any_parameter_shows(pair):
    """Covers a forgotten bias, norm, position or segment table, and swapped or untransposed matrices."""
    kinds = {}
    for name, _ in pair.ours.named_parameters():
        kinds.setdefault(re.sub(r"\d+", "N", name), name)
    for name in kinds.values():

        def roll(model, name=name):
            parameter = model.get_parameter(name)
            parameter.copy_(parameter.roll(1, 0) if parameter.shape[0] > 1 else -parameter)

        difference = changed(pair, roll)
        assert (difference == 0) if re.fullmatch(pair.options["idle"], name) else (difference > VISIBLE), name


def test_dropping_any_bias_shows(pair):
    for name in [n for n, _ in pair.ours.named_parameters() if n.endswith("bias")]:
        difference = changed(pair, lambda model, name=name: model.get_parameter(name).zero_())
        assert (difference == 0) if re.fullmatch(pair.options["idle"], name) else (difference > VISIBLE), name


def test_transposing_any_square_matrix_shows(pair):
    squares = [n for n, p in pair.ours.named_parameters() if p.dim() == 2 and p.shape[0] == p.shape[1]]
    for name in squares:

        def transpose(model, name=name):
            parameter = model.get_parameter(name)
            parameter.copy_(parameter.t().clone())

        assert changed(pair, transpose) > VISIBLE, name


def is_norm(module):
    return type(module).__name__.endswith("Norm") and not list(module.children())


def test_skipping_any_norm_shows(pair):
    for name in [n for n, m in pair.ours.named_modules() if is_norm(m)]:
        assert changed(pair, lambda model, name=name: model.set_submodule(name, nn.Identity())) > VISIBLE, name


class _NormLast(nn.Module):
    """A branch that takes its norm at the wrong end."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x, ctx):
        return self.branch.norm(self.branch.body(x, ctx))


def test_moving_a_norm_to_the_other_side_shows(pair):
    def move(model):
        for residual in each(model, Residual):
            residual.pre_norm, residual.post_norm = residual.post_norm, residual.pre_norm
        for name in named(model, Normed):
            model.set_submodule(name, _NormLast(model.get_submodule(name)))

    if each(pair.ours, Residual):
        assert changed(pair, move) > VISIBLE
    else:
        assert not any(is_norm(m) and "norm" in n for n, m in pair.ours.named_modules() if "Residual" in n)


def test_swapping_the_norms_of_a_block_shows(pair):
    def swap(model):
        for stack in each(model, Stack):
            block = stack.blocks[0]
            norms = [n for n, m in block.named_modules() if is_norm(m) and getattr(m, "weight", None) is not None]
            alike = [
                n for n in norms if block.get_submodule(n).weight.shape == block.get_submodule(norms[0]).weight.shape
            ]
            modules = [block.get_submodule(n) for n in alike]
            for name, module in zip(alike, modules[1:] + modules[:1], strict=True):
                block.set_submodule(name, module)

    def has_weights(module):
        return is_norm(module) and any(True for _ in module.parameters())

    most = max(sum(has_weights(m) for m in stack.blocks[0].modules()) for stack in each(pair.ours, Stack))
    if most > 1:
        assert changed(pair, swap) > VISIBLE
    else:
        assert changed(pair, swap) == 0


class _Branch(nn.Module):
    """A residual sum that forgets what came in."""

    def __init__(self, residual):
        super().__init__()
        self.residual = residual

    def forward(self, x, ctx):
        return self.residual(x, ctx) - x


def test_forgetting_a_residual_sum_shows(pair):
    for stack in [n for n, m in pair.ours.named_modules() if isinstance(m, Stack)]:
        first = pair.ours.get_submodule(stack).blocks[0]
        for name in [f"{stack}.blocks.0.{n}" for n in named(first, Residual)]:

            def forget(model, name=name):
                model.set_submodule(name, _Branch(model.get_submodule(name)))

            assert changed(pair, forget) > VISIBLE, name


def test_dropping_a_block_or_swapping_two_shows(pair):
    for n in range(len(each(pair.ours, Stack))):

        def drop(model, n=n):
            stack = each(model, Stack)[n]
            stack.blocks = stack.blocks[:-1]

        def swap(model, n=n):
            blocks = list(each(model, Stack)[n].blocks)
            each(model, Stack)[n].blocks = nn.ModuleList([blocks[1], blocks[0], *blocks[2:]])

        assert changed(pair, drop) > VISIBLE
        blocks = each(pair.ours, Stack)[n].blocks
        if len(blocks) > 1 and blocks[0] is not blocks[1]:
            assert changed(pair, swap) > VISIBLE


def test_turning_the_causal_mask_around_shows(pair):
    for n in range(len(towers(pair.ours))):

        def flip(model, n=n):
            towers(model)[n].is_causal = not towers(model)[n].is_causal

        assert changed(pair, flip) > VISIBLE


def test_attending_to_padding_shows_to_every_token_that_can_see_it(padded_case, oracle):
    *case, padding = padded_case
    pair = oracle.make_pair(*case)
    everything = {"attention_mask": torch.ones_like(pair.batch()["input_ids"])}
    if padding is None:
        batch, pad = pair.batch(), pair.ours.config.pad_id or 0
        # Some families take ids of padding for padding when there is no mask.
        batch["input_ids"] = batch["input_ids"].where(batch["input_ids"] != pad, 3 if pad != 3 else 4)
        with torch.no_grad():
            plain, full = pair.ours(**batch), pair.ours(**batch, **everything)
        assert torch.allclose(plain.hidden, full.hidden, atol=1e-5), "a mask that hides nothing changes nothing"
        return
    batch = pair.batch(padding)
    unmasked = batch | everything
    with torch.no_grad():
        hidden, seen = pair.ours(**batch).hidden, pair.ours(**unmasked).hidden
    difference = (hidden - seen)[pair.real(batch)].abs().max()
    if pair.ours.is_causal and padding == "right":
        assert difference <= 1e-5, "a reader from the left sees nothing on its right"
    else:
        assert difference > VISIBLE


def test_shifting_the_padding_mask_by_one_shows(pair):
    side = padded(pair)
    if pair.ours.is_causal and side == "right":
        side = "left"
    if side is None:
        assert pair.options["paddings"] == ()
        return
    batch = pair.batch(side)
    mask = batch["attention_mask"]
    shifted = batch | {
        "attention_mask": mask.roll(-1 if side == "left" else 1, 1) | mask[:, [0 if side == "right" else -1]]
    }
    with torch.no_grad():
        difference = pair.ours(**batch).hidden - pair.ours(**shifted).hidden
    assert difference[pair.real(batch)].abs().max() > VISIBLE


def test_shifting_positions_of_every_second_token_shows(pair):
    """Every tower knows the order of its tokens, by whatever means."""
    batch = pair.batch()
    for tower in towers(pair.ours):
        is_written = tower is getattr(pair.ours, "decoder", None)
        ids = batch.get("decoder_input_ids", batch["input_ids"]) if is_written else batch["input_ids"]
        places = tower.embeddings.places(ids, None, 0).expand_as(ids)
        wrong = (places + places % 2).clamp(max=places.max())
        with torch.no_grad():
            memory = pair.ours.remember(batch["input_ids"]) if is_written else None
            right = tower.encode(ids, memory=memory, position_ids=places)
            assert (right - tower.encode(ids, memory=memory)).abs().max() == 0
            assert (right - tower.encode(ids, memory=memory, position_ids=wrong)).abs().max() > VISIBLE


def test_wrong_attention_scale_shows(pair):
    for name in named(pair.ours, AttentionPart):

        def halve(model, name=name):
            model.get_submodule(name).scale /= 2

        assert changed(pair, halve) > VISIBLE, name


def test_another_activation_shows(pair):
    others = {"relu": "gelu", "gelu_new": "quick_gelu"}

    def bend(model):
        name = others.get(pair.ours.config.activation, "relu")
        for part in each(model, FeedForward, GatedFeedForward):
            part.act = ACTIVATIONS[name]

    if each(pair.ours, FeedForward, GatedFeedForward):
        assert changed(pair, bend) > VISIBLE


def test_exchanging_gate_and_up_shows(pair):
    def exchange(model):
        for part in each(model, GatedFeedForward):
            part.gate, part.up = part.up, part.gate

    if each(pair.ours, GatedFeedForward) and pair.ours.config.activation != "linear":
        assert changed(pair, exchange) > VISIBLE


def test_forgetting_any_added_embedding_or_scale_shows(pair):
    for n, tower in enumerate(towers(pair.ours)):
        for name in tower.embeddings.added:

            def forget(model, n=n, name=name):
                towers(model)[n].embeddings.added.pop(name)

            assert changed(pair, forget) > VISIBLE, name
    for name in named(pair.ours, Scale):
        if pair.ours.get_submodule(name).factor != 1:
            assert changed(pair, lambda m, name=name: m.set_submodule(name, nn.Identity())) > VISIBLE, name


def test_positions_one_further_on_show(pair):
    """A wrong offset: the table read one row too far, or sines of the next position."""
    for n, tower in enumerate(towers(pair.ours)):
        for name, part in tower.embeddings.added.items():
            if isinstance(part, (LearnedPositions, SinusoidalPositions)):

                class Moved(nn.Module):
                    limit = part.limit

                    def __init__(self, part):
                        super().__init__()
                        self.part = part

                    def forward(self, positions, segments=None):
                        return self.part((positions + 1).clamp(max=self.limit - 1), segments)

                def move(model, n=n, name=name, moved=Moved):
                    added = towers(model)[n].embeddings.added
                    added[name] = moved(added[name])

                assert changed(pair, move) > VISIBLE, name


def test_another_rotation_or_none_shows(pair):
    """Models whose positions enter elsewhere must not rotate at all."""
    for n, tower in enumerate(towers(pair.ours)):
        rotary = tower.rotary
        attention = each(tower, Attention)
        if isinstance(rotary, NoRotary):
            even = attention and attention[0].head_dim % 2 == 0
            wrong = [Rotary(attention[0].head_dim, theta=10_000.0, max_seq_len=40)] if even else []
        else:
            kind, size = rotary.scaling["rope_type"], {"max_seq_len": rotary.max_seq_len}
            make = type(rotary)
            wrong = [NoRotary()]
            if len(rotary.frequencies) > 1:  # the first pair turns at the same speed whatever theta is
                wrong.append(make(rotary.head_dim, theta=rotary.theta * 2, scaling=rotary.scaling, **size))
            if not (kind == "default" or (kind == "dynamic" and rotary.max_seq_len >= pair.seq)):
                wrong.append(make(rotary.head_dim, theta=rotary.theta, **size))
            if make is PartialRotary and attention[0].head_dim % 2 == 0:
                wrong.append(Rotary(attention[0].head_dim, theta=rotary.theta, **size))
        for other in wrong:
            assert changed(pair, lambda m, n=n, other=other: setattr(towers(m)[n], "rotary", other)) > VISIBLE, other


def test_dropping_or_halving_a_score_bias_shows(pair):
    class Half(nn.Module):
        def __init__(self, bias):
            super().__init__()
            self.bias = bias

        def forward(self, *arguments):
            return self.bias(*arguments) / 2

    for n, tower in enumerate(towers(pair.ours)):
        if isinstance(tower.score_bias, NoBias):
            assert pair.family.positions not in ("alibi", "relative bias")
            continue
        for other in (NoBias(), Half(tower.score_bias)):
            assert changed(pair, lambda m, n=n, other=other: setattr(towers(m)[n], "score_bias", other)) > VISIBLE


def test_a_window_one_wider_or_narrower_or_none_shows(pair):
    for n, tower in enumerate(towers(pair.ours)):
        if tower.window is not None and tower.window < pair.seq:
            for other in (tower.window + 1, tower.window - 1, None):
                assert changed(pair, lambda m, n=n, other=other: setattr(towers(m)[n], "window", other)) > VISIBLE


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


@pytest.mark.parametrize("padding", ["right", "left"])
def test_cross_attention_that_sees_padding_shows(two, padding):
    batch = two.batch(padding)
    with torch.no_grad():
        memory = two.ours.remember(batch["input_ids"], batch["attention_mask"])
        right = two.ours.decode(batch["decoder_input_ids"], memory)
        memory.mask = type(memory.mask)()
        assert (right - two.ours.decode(batch["decoder_input_ids"], memory)).abs().max() > VISIBLE
