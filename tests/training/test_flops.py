"""Counts from the modules against what torch counts while the model runs."""

import math

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from llmkit.models.registry import load_family
from llmkit.training.flops import attention, count, step_flops

BATCH, SEQ = 2, 48
SIZES = {"vocab_size": 512, "d_model": 64, "n_layers": 3, "n_heads": 4, "d_ff": 256, "max_seq_len": 64}


def built(family, head, **more):
    found = load_family(family)
    torch.manual_seed(0)
    return found.build(found.config_class(**SIZES, head=head, **more)).eval()


def counted(model):
    """Operations of one forward pass, every product of the attention counted in full."""
    ids = torch.randint(5, 500, (BATCH, SEQ))
    linear = lambda x, weight, *args, **more: 2 * math.prod(x) * weight[0]
    mapping = {torch.ops.mkldnn._linear_pointwise: linear} if hasattr(torch.ops.mkldnn, "_linear_pointwise") else {}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        model(ids, decoder_input_ids=ids) if hasattr(model, "decoder") else model(ids)
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", "masked_lm"),
        ("albert", "masked_lm"),
        ("electra", "replaced_token"),
        ("t5", "encoder"),
        ("xlm", "masked_lm"),
    ],
)
def test_the_count_is_what_torch_counts_where_every_token_sees_every_other(family, head):
    model = built(family, head)
    assert step_flops(model, examples=BATCH, seq_len=SEQ) == pytest.approx(3 * counted(model), rel=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral", "bloom", "falcon"])
def test_of_causal_attention_only_what_may_be_seen_counts(family):
    model = built(family, "causal_lm")
    seen = attention(model, SEQ)
    whole = 2 * SIZES["n_layers"] * SIZES["d_model"] * SEQ**2
    assert seen / whole == pytest.approx((SEQ + 1) / 2 / SEQ)
    hidden = 2 * BATCH * (whole - seen)
    assert step_flops(model, examples=BATCH, seq_len=SEQ) == pytest.approx(3 * (counted(model) - hidden), rel=1e-6)


def test_an_encoder_decoder_counts_both_sides_and_what_crosses():
    model = built("t5", "seq2seq")
    hidden = 2 * BATCH * SIZES["n_layers"] * SIZES["d_model"] * 2 * (SEQ**2 - SEQ * (SEQ + 1) / 2)
    expected = 3 * (counted(model) - hidden)
    assert step_flops(model, examples=BATCH, seq_len=SEQ) == pytest.approx(expected, rel=1e-6)
    longer = step_flops(model, examples=BATCH, seq_len=SEQ, output_len=2 * SEQ)
    assert longer > 1.5 * expected


def test_of_experts_only_those_a_token_goes_through_count():
    few, many = (count(built("mixtral", "causal_lm", n_experts=n)).token for n in (4, 8))
    routers = SIZES["n_layers"] * SIZES["d_model"]
    assert many - few == 4 * routers


def test_the_head_counts_only_where_there_is_a_target():
    model = built("bert", "masked_lm")
    none, some = (step_flops(model, examples=BATCH, seq_len=SEQ, targets=n) for n in (0, 7))
    d = SIZES["d_model"]
    assert some - none == 6 * 7 * (SIZES["vocab_size"] * d + d * d)


def test_a_window_bounds_what_a_token_sees():
    narrow, wide = (built("mistral", "causal_lm", window=n) for n in (8, 64))
    assert attention(narrow, SEQ) / attention(wide, SEQ) == pytest.approx((8 * SEQ - 28) / (SEQ * (SEQ + 1) / 2))


def test_a_configuration_alone_is_enough_whatever_its_size():
    found = load_family("gpt2")
    config = found.config_class(
        vocab_size=50257, d_model=12288, n_layers=96, n_heads=96, max_seq_len=2048, head="causal_lm"
    )
    flops = step_flops(config, examples=1, seq_len=2048)
    assert flops / 2048 / (6 * 175e9) == pytest.approx(1.0, abs=0.05)
