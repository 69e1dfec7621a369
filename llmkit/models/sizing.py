"""What the number of a family's parameters follows from besides its sizes, and how the family likes to grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


def _nothing(_: Any) -> float:
    return 0.0


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """Defaults are those of a plain transformer.

    norm_after: norms follow the residual sum (post-norm), which wants a lower learning rate.
    has_gate: the feed-forward layer has a third matrix.
    extra_attention: matrices of d_model x (heads x head_dim) in a block's attention beyond the usual four.
    has_transform: masked and replaced tokens are told by a dense layer before the output.
    untied_tables: matrices with a row per token when nothing is tied; None: 2, or 3 with two stacks.
    embed_projections: matrices between embeddings and a stream of another width.
    wide_positions: learned positions are as wide as the stream, whatever the embeddings are.
    more: config -> parameters that no other line counts.
    layers: the published depth where layers share weights, so that it cannot follow from a number of parameters.
    layer_step: layers come in groups of so many unlike ones.
    """

    norm_after: bool = False
    has_gate: bool = False
    extra_attention: float = 0.0
    has_transform: bool = True
    untied_tables: int | None = None
    embed_projections: int = 1
    wide_positions: bool = False
    more: Callable[[Any], float] = _nothing
    layers: int | None = None
    layer_step: int = 1
