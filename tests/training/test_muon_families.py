"""What Muon takes and what it leaves to AdamW, in every family of the zoo."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from llmkit.models.registry import family_names, load_family
from llmkit.nn.moe import Experts
from llmkit.training.muon import AS_ONE, Muon, block_heights, hidden_matrices, pieces
from llmkit.training.optim import decays

D, HEADS, LAYERS = 64, 4, 4
# What a parameter is called tells what it is: the table that the code is held against, which asks for types instead.
LEFT = re.compile(
    r"(^|\.)(token|position|segment|stream|rows|columns|relative|languages?|slots?|by_bucket|buckets)(\.weight)?$"
    r"|(^|\.)(router\.linear|head\.decoder|head\.linear|pair_head\.linear|depthwise|score_bias)\."
    r"|_bias$|\.bias$|norm\.weight$|segment_keys$|segments$"
)


def build(name: str, head: str) -> nn.Module:
    torch.manual_seed(0)
    family = load_family(name)
    return family.build(family.config_class(vocab_size=96, d_model=D, n_layers=LAYERS, n_heads=HEADS, head=head))


def cases() -> list[tuple[str, str]]:
    """Each family with every head that is trained from random weights."""
    tuned = ("classification", "token_classification", "span", "multiple_choice", "backbone", "base", "encoder")
    return [(n, h) for n in family_names() for h in load_family(n).config_class.HEADS if h not in tuned]


@pytest.mark.parametrize(("name", "head"), cases())
def test_every_hidden_matrix_goes_to_muon_and_nothing_else(name, head):
    model = build(name, head)
    taken = hidden_matrices(model)
    for parameter_name, parameter in model.named_parameters():
        left = parameter.ndim < 2 or LEFT.search(parameter_name) is not None
        assert (parameter_name not in taken) == left, (parameter_name, tuple(parameter.shape))
    assert taken


@pytest.mark.parametrize(("name", "head"), cases())
def test_what_is_stacked_is_orthogonalised_one_by_one(name, head):
    model = build(name, head)
    matrices, heights = hidden_matrices(model), block_heights(model)
    for parameter_name, parameter in matrices.items():
        found = pieces(parameter, heights.get(parameter_name, ()))
        assert sum(piece.numel() for piece in found) == parameter.numel(), parameter_name
        assert {piece.ndim for piece in found} == {2}, parameter_name
        assert all(piece.data_ptr() >= parameter.data_ptr() for piece in found), "not a view"
        fused = re.search(r"\.(qkv|kv|qk_v|global_kv)\.weight$", parameter_name)
        if fused:
            assert len(found) == {"qkv": 3, "kv": 2, "qk_v": 2, "global_kv": 2}[fused[1]]
    stacks = [m for m in model.modules() if isinstance(m, Experts)]
    for experts in stacks:
        for parameter_name, parameter in experts.named_parameters():
            if parameter.ndim == 3:
                full = next(n for n, p in matrices.items() if p is parameter)
                each = 2 if parameter_name == "gate_up" else 1
                assert len(pieces(parameter, heights.get(full, ()))) == each * parameter.shape[0]


def test_grouped_heads_are_cut_where_queries_end():
    family = load_family("llama")
    config = family.config_class(vocab_size=96, d_model=D, n_layers=1, n_heads=4, n_kv_heads=2, head="causal_lm")
    (heights,) = [h for n, h in block_heights(family.build(config)).items() if n.endswith("qkv.weight")]
    assert heights == (64, 32, 32)


def test_experts_learn_apart():
    torch.manual_seed(0)
    stack = nn.Parameter(torch.zeros(3, 8, 4))
    apart = [nn.Parameter(torch.zeros(8, 4)) for _ in range(3)]
    stack.grad = torch.randn(3, 8, 4) * torch.tensor([1.0, 1000.0, 0.0])[:, None, None]
    for parameter, gradient in zip(apart, stack.grad, strict=True):
        parameter.grad = gradient.clone()
    Muon({"up": stack}, {}, weight_decay=0.0).step(0.1)
    Muon({str(i): p for i, p in enumerate(apart)}, {}, weight_decay=0.0).step(0.1)
    torch.testing.assert_close(stack.detach(), torch.stack([p.detach() for p in apart]))
    assert stack[2].abs().max() == 0  # an expert that saw nothing stays


def test_a_matrix_in_more_dimensions_learns_as_one():
    torch.manual_seed(0)
    kernel, flat = nn.Parameter(torch.zeros(8, 2, 3)), nn.Parameter(torch.zeros(8, 6))
    kernel.grad = torch.randn(8, 2, 3)
    flat.grad = kernel.grad.flatten(1)
    Muon({"kernel": kernel}, {"kernel": AS_ONE}, weight_decay=0.0).step(0.1)
    Muon({"flat": flat}, {}, weight_decay=0.0).step(0.1)
    torch.testing.assert_close(kernel.detach().flatten(1), flat.detach())


@pytest.mark.parametrize("name", family_names())
def test_neither_norms_nor_biases_decay(name):
    model = build(name, next(h for n, h in cases() if n == name))
    for parameter_name, parameter in model.named_parameters():
        is_vector = parameter.ndim < 2 or parameter_name.endswith("_bias")
        assert decays(parameter_name, parameter) != is_vector, parameter_name
