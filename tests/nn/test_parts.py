"""Parts on their own: wiring, capture, linear kernels, init, compiling."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS as NAMES
from llmkit.models.registry import family_names, load_family
from llmkit.nn import linear as linear_module
from llmkit.nn.activations import ACTIVATIONS
from llmkit.nn.attention import Attention
from llmkit.nn.capture import Site, capture_attention
from llmkit.nn.context import Context
from llmkit.nn.embeddings import RoundedScale
from llmkit.nn.kernels import fused_attention
from llmkit.nn.linear import linear
from llmkit.nn.norms import OffsetRMSNorm, RMSNorm
from llmkit.nn.wiring import Block, Normed, Parallel, Residual, Stack

SMALL = {"vocab_size": 31, "d_model": 16, "n_layers": 3, "n_heads": 2, "max_seq_len": 20}


def small(name, **more):
    family = load_family(name)
    torch.manual_seed(0)
    return family.build(family.config_class(**{**SMALL, **more}))


def run(model, ids, *more):
    """One pass over ids, on both sides of an encoder-decoder."""
    return model(ids, *more, decoder_input_ids=ids if hasattr(model, "decoder") else None)


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x, ctx=None):
        return x * self.factor


def test_wiring_puts_each_norm_where_it_says():
    x, ctx = torch.ones(1, 1, 1), Context()
    residual = Residual(Times(3), pre_norm=Times(2), branch_norm=Times(5), post_norm=Times(7))
    assert residual(x, ctx).item() == 7 * (1 + 5 * 3 * 2)
    assert Residual(Times(3))(x, ctx).item() == 4
    assert Normed(Times(2), Times(3))(x, ctx).item() == 6
    assert Parallel(a=Times(2), b=Times(3), c=Times(4))(x, ctx).item() == 9
    assert Block(a=Times(2), b=Times(3))(x, ctx).item() == 6


def test_a_stack_counts_layers_even_when_a_block_is_shared():
    seen = []

    class Spy(nn.Module):
        def forward(self, x, ctx):
            seen.append(ctx.layer)
            return x

    Stack([Spy()] * 3)(torch.zeros(1), Context())
    assert seen == [0, 1, 2]


def test_capturing_a_shared_block_records_every_layer():
    shared = Block(attn=Residual(Attention(8, 2)))
    nn.init.normal_(shared["attn"].body.qkv.weight)
    for parameter in shared.parameters():
        nn.init.normal_(parameter)
    stack = Stack([shared] * 3)
    with capture_attention(SimpleNamespace(attention_sites={"self": Site(stack.blocks)})) as maps:
        stack(torch.randn(1, 5, 8), Context())
    assert sorted(maps) == [0, 1, 2]
    assert not torch.equal(maps[0], maps[1])


@pytest.mark.parametrize("name", family_names())
def test_capture_changes_nothing_but_what_it_shows(name):
    model = small(name).eval()
    ids = torch.randint(0, 31, (2, 9))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    plain = run(model, ids, mask).logits
    with capture_attention(model, layers=[1]) as maps:
        assert torch.allclose(run(model, ids, mask).logits, plain, atol=1e-6)
        run(model, ids, mask)
    assert list(maps) == [1]
    assert maps[1].shape == (2, 2, 9, 9)
    assert torch.allclose(maps[1].sum(-1), torch.ones(2, 2, 9))
    assert maps[1][1, :, 4:, :4].abs().max() == 0


def test_capture_restores_the_kernel_after_an_exception_and_refuses_unknown_layers():
    model = small("gpt2")
    with pytest.raises(ZeroDivisionError), capture_attention(model):
        raise ZeroDivisionError
    assert all(m.kernel is fused_attention for m in model.modules() if isinstance(m, Attention))
    with pytest.raises(UsageError, match="no layer 3; layers run from 0 to 2"), capture_attention(model, layers=[3]):
        pass


@pytest.mark.parametrize("bias", [True, False])
def test_the_onednn_kernel_equals_the_framework(monkeypatch, bias):
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this build of torch has no oneDNN linear")
    monkeypatch.setattr(linear_module, "onednn_pays", lambda: True)
    monkeypatch.setattr(linear_module, "_LEAST_WORK", 0)
    torch.manual_seed(0)
    x = torch.randn(4, 48, 24, dtype=torch.float64)
    weight, shift = torch.randn(33, 24, dtype=torch.float64), torch.randn(33, dtype=torch.float64)
    out_grad = torch.randn(4, 48, 33, dtype=torch.float64)

    def run(dtype):
        inputs = [t.detach().to(dtype).requires_grad_() for t in (x, weight, *([shift] if bias else []))]
        y = linear(*inputs)
        y.backward(out_grad.to(dtype))
        return [y, *(t.grad for t in inputs)]

    used = []
    monkeypatch.setattr(
        linear_module, "_product", lambda *a, original=linear_module._product: (used.append(1), original(*a))[1]
    )
    for ours, exact in zip(run(torch.float32), run(torch.float64), strict=True):
        assert torch.allclose(ours.double(), exact, atol=1e-4)
    assert len(used) == 3, "float32 takes the kernel for y, dx and dW; float64 does not"
    linear(x[:3, :47].float(), weight.float())
    assert len(used) == 3, "an odd number of rows would be one more shape to build and keep a kernel for"


def test_activation_names_and_functions_are_the_same_set():
    assert set(NAMES) == set(ACTIVATIONS)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_activations_equal_transformers(name):
    from transformers.activations import ACT2FN

    x = torch.linspace(-12, 12, 1001)
    assert torch.allclose(ACTIVATIONS[name](x), ACT2FN[name](x), atol=2e-6)


def test_rms_norm_is_the_formula():
    norm = RMSNorm(6, eps=0.1)
    nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 6)
    assert torch.allclose(norm(x), x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt() * norm.weight, atol=1e-6)


def test_an_offset_norm_multiplies_in_float32_by_one_more_than_its_weight():
    norm, usual = OffsetRMSNorm(6, eps=0.1), RMSNorm(6, eps=0.1)
    nn.init.normal_(norm.weight)
    usual.weight.data = 1 + norm.weight
    x = torch.randn(2, 3, 6)
    assert torch.allclose(norm(x), usual(x), atol=1e-6)
    assert torch.equal(norm(x.bfloat16()), norm(x.bfloat16().float()).bfloat16())


def test_a_rounded_scale_is_rounded_before_the_product():
    x = torch.ones(3)
    assert torch.equal(RoundedScale(3072**0.5)(x), x * 3072**0.5)
    assert RoundedScale(3072**0.5)(x.bfloat16()).tolist() == [55.5] * 3
    assert RoundedScale(3072**0.5)(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("name", family_names())
def test_build_fills_every_parameter_from_the_global_generator(name):
    """With reserved memory poisoned, a parameter that nobody draws would stay NaN."""
    torch.use_deterministic_algorithms(True)
    try:
        first, second = small(name), small(name)
    finally:
        torch.use_deterministic_algorithms(False)
    for (label, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert a.isfinite().all(), label
        assert torch.equal(a, b), label
    logits = run(first.eval(), torch.randint(0, 31, (4, 20))).logits
    if logits.shape[-1] == 1:  # of two choices, not of the vocabulary
        loss, guess = F.binary_cross_entropy_with_logits(logits, torch.randint(0, 2, logits.shape).float()), 2
    else:
        loss, guess = F.cross_entropy(logits[..., :31].flatten(0, 1), torch.randint(0, 31, (80,))), 31
    # Drawn by the width of what comes in (init_std is a factor then), a model begins with logits of deviation one.
    slack = 1.0 if first.config.init_std == 1.0 else 0.05 * math.log(guess)
    assert loss.item() == pytest.approx(math.log(guess), abs=slack)


@pytest.mark.parametrize("name", family_names())
def test_no_block_of_a_fresh_model_drowns_the_residual_stream(name):
    """A matrix drawn far too wide shows here alone: parity replaces every weight."""
    model = small(name, d_model=64, n_layers=4).eval()
    widest = []
    for stack in [m for m in model.modules() if isinstance(m, Stack)]:
        for block in stack.blocks:
            block.register_forward_hook(lambda _, inputs, output: widest.append(output.std().item()))
    with torch.no_grad():
        run(model, torch.randint(3, 31, (4, 20)))
    assert max(widest, default=0) < 4


def test_init_follows_the_papers():
    gpt2 = small("gpt2", d_model=256, n_layers=8)
    body = gpt2.stack.blocks[3]["ffn"].body
    assert body.up.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert body.down.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
    assert gpt2.stack.blocks[0]["attn"].body.out.weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.05)
    bert = small("bert", d_model=256)
    assert bert.stack.blocks[0]["ffn"].body.down.weight.abs().max() <= 0.04
    assert not bert.stack.blocks[0]["ffn"].body.down.bias.any()


@pytest.mark.parametrize("name", family_names())
def test_dropout_acts_in_training_only(name):
    model = small(name, dropout=0.5, attention_dropout=0.5)
    ids = torch.randint(0, 31, (2, 9))
    assert not torch.equal(run(model.train(), ids).logits, run(model, ids).logits)
    assert torch.equal(run(model.eval(), ids).logits, run(model, ids).logits)


@pytest.mark.parametrize("name", family_names())
def test_the_whole_model_traces_as_one_graph(name):
    model = small(name).eval()
    ids = torch.randint(0, 31, (2, 9))
    torch._dynamo.reset()  # every family is one more type to the compiler, and it gives up after eight
    traced = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.allclose(run(traced, ids).logits, run(model, ids).logits, atol=1e-6)


@pytest.mark.parametrize("name", family_names())
def test_too_long_a_text_is_refused_where_positions_are_learned(name):
    model = small(name)
    ids = torch.zeros(1, 21, dtype=torch.long)
    towers = [model.encoder, model.decoder] if hasattr(model, "decoder") else [model]
    if min(tower.embeddings.limit for tower in towers) == 20:
        with pytest.raises(UsageError, match="21 tokens long; this model has positions for 20"):
            run(model, ids)
    else:
        assert run(model, ids).logits.isfinite().all()


def test_a_mask_of_the_wrong_shape_is_refused():
    with pytest.raises(UsageError, match=r"attention_mask is \(2, 5\); it must be .* \(2, 9\)"):
        small("bert")(torch.zeros(2, 9, dtype=torch.long), torch.ones(2, 5))
