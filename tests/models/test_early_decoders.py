"""What GPT, CTRL, OPT and BLOOM ask for beyond the checks that all families share."""

import pytest
import torch
from torch import nn

from llmkit.errors import InputRefused, UsageError
from llmkit.models.registry import load_family
from llmkit.nn.context import Context
from llmkit.nn.wiring import NormedResidual
from llmkit.weights.convert import export, load_into

SIZES = {"vocab_size": 53, "d_model": 24, "n_layers": 2, "n_heads": 3}


def make(name, **more):
    return load_family(name).config_class(**{**SIZES, **more})


@pytest.mark.parametrize(
    ("name", "raw", "named"),
    [
        ("openai_gpt", {"afn": "gelu_new"}, "'afn' is 'gelu_new'; it must be one of gelu, relu"),
        ("bloom", {"slow_but_exact": True, "pretraining_tp": 2}, "'slow_but_exact' with 'pretraining_tp' above 1"),
        ("opt", {"word_embed_proj_dim": "narrow"}, "'word_embed_proj_dim'"),
        ("opt", {"architectures": ["OPTForTokenClassification"]}, "architecture"),
        ("openai_gpt", {"architectures": ["OpenAIGPTDoubleHeadsModel"]}, "architecture"),
    ],
)
def test_settings_that_mean_another_model_are_refused_by_name(name, raw, named):
    with pytest.raises(InputRefused) as caught:
        load_family(name).config_from_hf(raw)
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("openai_gpt", "d_ff", 97),
        ("bloom", "d_ff", 97),
        ("opt", "norm_eps", 1e-6),
        ("openai_gpt", "activation", "gelu"),
        ("bloom", "activation", "gelu"),
        ("ctrl", "activation", "gelu"),
    ],
)
def test_sizes_that_no_checkpoint_could_say_are_refused(name, field, value):
    with pytest.raises(UsageError, match=f"{field} is "):
        make(name, **{field: value})


def test_dropout_of_attention_survives_a_save_where_transformers_knows_none():
    family = load_family("ctrl")
    config = make("ctrl", attention_dropout=0.25)
    assert family.config_from_hf(family.config_to_hf(config)) == config
    assert "attention_dropout" not in family.config_to_hf(make("ctrl"))
    assert family.config_from_hf({"attn_pdrop": 0.1}).attention_dropout == 0.0


def test_the_old_name_of_a_width_is_read():
    assert load_family("bloom").config_from_hf({"n_embed": 96}).d_model == 96


def test_a_residual_sum_can_begin_at_the_normed_input():
    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x, ctx=None):
            return x * self.factor

    part = NormedResidual(Times(3), pre_norm=Times(2), branch_norm=Times(5), post_norm=Times(7))
    assert part(torch.ones(1, 1, 1), Context()).item() == 7 * (2 + 5 * 3 * 2)


@pytest.mark.parametrize("chosen", [("bloom", "plain"), ("bloom", "seven odd heads"), ("opt", "as the 350m model")])
@torch.no_grad()
def test_positions_skip_gaps_in_the_attention_mask(chosen, oracle):
    pair = oracle.make_pair(*chosen)
    batch = pair.batch()
    batch["attention_mask"] = torch.tensor([[1] * 13, [1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1], [0, 1, 0] * 4 + [1]])
    limit = oracle.tolerance(pair, batch)
    full = pair.ours(**batch)
    assert oracle.compare(pair, batch, pair.scores(pair.theirs(**batch)), full.logits) <= limit
    cache, steps = pair.ours.new_cache(3, 13), []
    for i in range(13):
        steps.append(
            pair.ours.encode(batch["input_ids"][:, i : i + 1], batch["attention_mask"][:, : i + 1], cache=cache)
        )
    assert oracle.compare(pair, batch, full.hidden, torch.cat(steps, 1)) <= limit


@pytest.mark.parametrize(
    ("name", "prefix", "buffers"),
    [
        ("openai_gpt", "transformer.", {"h.0.attn.bias": (1, 1, 20, 20), "position_ids": (20,)}),
        ("ctrl", "transformer.", {"pos_encoding": (20, 24)}),
        ("opt", "model.", {"decoder.version": (1,)}),
        ("bloom", "transformer.", {}),
    ],
)
@pytest.mark.parametrize("has_prefix", [True, False])
def test_old_files_load_with_their_buffers_with_and_without_prefix(name, prefix, buffers, has_prefix):
    family = load_family(name)
    config = make(name, max_seq_len=20)
    torch.manual_seed(0)
    model, fresh = family.build(config), family.build(config)
    rules = family.weight_rules(config)
    stored = export(model, rules) | {prefix + theirs: torch.zeros(shape) for theirs, shape in buffers.items()}
    # Old versions stored the tied output layer beside the embedding.
    stored["lm_head.weight"] = model.embeddings.token.weight.detach().clone()
    load_into(fresh, rules, stored if has_prefix else {k.removeprefix(prefix): v for k, v in stored.items()})
    for (label, a), (_, b) in zip(model.named_parameters(), fresh.named_parameters(), strict=True):
        assert torch.equal(a, b), label
