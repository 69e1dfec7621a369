"""How much arithmetic a training step is, counted from the model's own matrices.

Counted, a multiplication and an addition as two operations: every product of a weight matrix with the tokens that go
through it (of experts only those a token is sent to, of a block that is used several times each time), and attention's
scores and weighted sums over the tokens that may be seen. The output layer counts at the places that have a target and
nowhere else, what reads a whole text (pooler, pair head) once per text. The backward pass is twice the forward pass.

Not counted: looking up embeddings, norms, activations, softmax, dropout, the loss, the optimizer, what is computed
again to save memory, and what relative attention does with positions. So the count is exact for most families, and low
by some 10 to 15 percent for Transformer-XL, XLNet (whose second stream is left out too), Funnel and ConvBERT.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of
from llmkit.models.two_towers import EncoderDecoderModel
from llmkit.nn.attention import AttentionPart
from llmkit.nn.chunks import Window
from llmkit.nn.grouped import GroupedLinear
from llmkit.nn.moe import Experts, MixtureOfExperts, TopRouter

# Forward, and the gradients of input and weight.
_PASSES = 3
# Projections of positions: their rows are distances, not tokens.
_OF_POSITIONS = frozenset({"distance", "position_kernel"})


@dataclass(frozen=True)
class Work:
    """Multiplications of one forward pass. Of each of them come 2 operations, and 6 in a training step.

    token: per token of the input. target: per place that predicts something. example: per text. output: per token of
    the output of an encoder-decoder, whose cross-attention also reads the input once per token, `memory`.
    """

    token: int
    target: int
    example: int
    output: int = 0
    memory: int = 0


def step_flops(
    model: nn.Module | ModelConfig,
    *,
    examples: int,
    seq_len: float,
    targets: float | None = None,
    output_len: float | None = None,
) -> float:
    """Operations of one training step, forward and backward.

    examples: texts in the step, over all micro-batches and ranks. seq_len: tokens of a text, the mean where they
    differ. targets: places in the step with something to predict, by default every token (of the output, where there
    is one). output_len: tokens of an encoder-decoder's output, by default as many as of its input.
    """
    if isinstance(model, ModelConfig):
        with torch.device("meta"):
            model = family_of(model).build(model)
    out = (seq_len if output_len is None else output_len) if isinstance(model, EncoderDecoderModel) else 0.0
    tokens, output = examples * seq_len, examples * out
    n_targets = (output or tokens) if targets is None else targets
    work = count(model)
    products = work.token * tokens + work.target * n_targets + work.example * examples
    products += work.output * output + work.memory * tokens
    return 2.0 * _PASSES * (products + examples * attention(model, seq_len, out))


def count(model: nn.Module) -> Work:
    """The multiplications with weight matrices in one forward pass of `model`."""
    head = _products(getattr(model, "head", None))
    if isinstance(model, EncoderDecoderModel):
        crossing = sum(_products(p.kv) for p in _parts(model.decoder) if p.looks_at == "memory")
        output = _streams(model.decoder) * (_products(model.decoder) - crossing)
        return Work(_products(model.encoder), head, 0, output, crossing)
    readers = sum(_products(getattr(model, name, None)) for name in ("pooler", "pair_head"))
    return Work(_products(model) - head - readers, head, readers)


def attention(model: nn.Module, seq_len: float, output_len: float = 0.0) -> float:
    """Multiplications of one text's attention: scores and weighted sums, of the pairs that may see each other."""
    if isinstance(model, EncoderDecoderModel):
        return _attention(model.encoder, seq_len, seq_len) + _streams(model.decoder) * _attention(
            model.decoder, output_len, seq_len
        )
    return _attention(model, seq_len, seq_len)


def _streams(decoder: nn.Module) -> int:
    """How many times each token goes through the decoder: ProphetNet's also once for each token it foretells."""
    return 1 + int(getattr(decoder, "ngram", 0))


def _attention(tower: nn.Module, seq_len: float, memory_len: float) -> float:
    is_causal, window = bool(getattr(tower, "is_causal", False)), getattr(tower, "window", None)
    total = 0.0
    for part in _parts(tower):
        width = part.n_heads * part.head_dim
        if part.looks_at == "memory":
            pairs = seq_len * memory_len
        else:
            pairs = seq_len * _seen(seq_len, is_causal, _reach(part) or (window if is_causal else None))
        total += 2.0 * width * pairs
    return total


def _reach(part: nn.Module) -> int | None:
    """Tokens around itself that a token sees where the part cuts the text up."""
    window = getattr(part, "window", None)
    if isinstance(window, Window):
        return window.chunk * (window.before + 1 + window.after)
    return window if isinstance(window, int) else None


def _seen(seq_len: float, is_causal: bool, window: int | None) -> float:
    """Tokens that a token sees, on average over the text."""
    if not is_causal:
        return min(seq_len, window or seq_len)
    if window is None or window >= seq_len:
        return (seq_len + 1) / 2
    return window - window * (window - 1) / (2 * seq_len)


def _products(module: nn.Module | None) -> int:
    """Multiplications per row that goes through `module`. What stands in it several times counts as often."""
    if module is None:
        return 0
    if isinstance(module, (nn.Linear, GroupedLinear)):
        return module.weight.numel()
    if isinstance(module, nn.Conv1d):
        return module.weight.numel()
    if isinstance(module, MixtureOfExperts):
        k = module.router.k if isinstance(module.router, TopRouter) else 1
        weights = sum(p.numel() for p in module.experts.parameters() if p.ndim == 3)
        return _products(module.router) + weights * k // module.experts.n_experts
    if isinstance(module, Experts):
        return sum(p.numel() for p in module.parameters() if p.ndim == 3) // module.n_experts
    return sum(_products(child) for name, child in module._modules.items() if name not in _OF_POSITIONS)


def _parts(module: nn.Module) -> list[Any]:
    """Every kind of attention in the module, as often as it is used."""
    found: list[Any] = [module] if isinstance(module, AttentionPart) else []
    for child in module._modules.values():
        if child is not None:
            found += _parts(child)
    return found
