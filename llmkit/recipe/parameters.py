"""Parameters of a model, counted from its sizes alone: close enough to choose sizes by, and without torch.

Matrices, tables and biases of the output layer are counted, norms and the other biases are not. The tests hold every
family to its real model (`tests/recipe/test_parameters.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmkit.models.config import ModelConfig
from llmkit.models.family import Family, Kind

# Heads of encoders with a dense layer before the output, and those with one on the first token.
TRANSFORMED = ("masked_lm", "pretraining", "replaced_token")
POOLED = ("pretraining", "next_sentence")
BIASED = ("masked_lm", "pretraining", "permutation_lm", "seq2seq")


@dataclass(frozen=True)
class Counts:
    """total: all parameters. active: those that work on one token. tables: token vectors, of the output too."""

    total: int
    active: int
    tables: int


def count_parameters(family: Family, config: ModelConfig) -> Counts:
    """Parameters of the model that `family` builds from `config`, with the head that the config names."""
    c: Any = config
    sizing, d, d_embed = family.sizing, c.d_model, getattr(c, "d_embed", 0) or c.d_model
    tables = c.vocab_size * d_embed * _tables(family, c)
    fixed = tables + sizing.more(c)
    if family.positions.startswith("learned"):
        width = d if sizing.wide_positions else d_embed
        fixed += c.max_seq_len * width * (2 if family.kind is Kind.ENCODER_DECODER else 1)
    if family.kind is Kind.ENCODER and sizing.has_transform and c.head in TRANSFORMED:
        fixed += d * d_embed
    fixed += d * d if c.head in POOLED else 0
    fixed += d * d_embed * sizing.embed_projections if d_embed != d else 0
    fixed += c.vocab_size if c.head in BIASED else 0
    stacks = _stacks(family, c)
    return Counts(int(fixed + sum(t for t, _ in stacks)), int(fixed + sum(a for _, a in stacks)), int(tables))


def _tables(family: Family, c: Any) -> int:
    """Matrices of one row per token: of the input, of the output, and of both inputs if there are two stacks."""
    if c.tie_embeddings or c.head == "replaced_token":
        return 1
    return family.sizing.untied_tables or (3 if family.kind is Kind.ENCODER_DECODER else 2)


def _stacks(family: Family, c: Any) -> list[tuple[float, float]]:
    """(all, active) parameters of the blocks of each stack."""
    width, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    attention = c.d_model * (2 * width + 2 * kv + family.sizing.extra_attention * width)
    if family.kind is not Kind.ENCODER_DECODER:
        return [_stack(family, c, "decoder", c.n_stored_blocks, attention, c.d_ff)]
    encoder = _stack(family, c, "encoder", c.n_layers, attention, c.d_ff)
    cross = 4 * c.d_model * width
    return [encoder, _stack(family, c, "decoder", c.n_decoder_layers, attention + cross, c.d_decoder_ff)]


def _stack(family: Family, c: Any, tower: str, n: int, attention: float, d_ff: int) -> tuple[float, float]:
    has_gate = family.sizing.has_gate or getattr(c, "gated", False)
    feed_forward = (3 if has_gate else 2) * c.d_model * d_ff
    experts, chosen = getattr(c, "n_experts", 1), getattr(c, "experts_per_token", 1)
    sparse = 0
    if experts > 1:
        sparse = sum(c.is_sparse(tower, i) for i in range(n)) if hasattr(c, "is_sparse") else n
    plain = n * attention + (n - sparse) * feed_forward + sparse * experts * c.d_model
    return plain + sparse * experts * feed_forward, plain + sparse * chosen * feed_forward
