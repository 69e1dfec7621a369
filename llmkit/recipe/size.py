"""How large a model will be, from its sizes alone: for listings and for refusing the absurd, not for accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_PARAMETERS = 10**12


def approximate_parameters(fields: Mapping[str, Any], vocab_size: int) -> int:
    """Parameters of a transformer with these sizes: the matrices are counted, norms and biases are not."""
    d_model, n_layers, n_heads = fields["d_model"], fields["n_layers"], fields["n_heads"]
    head_dim = fields.get("head_dim") or d_model // n_heads
    n_kv_heads = fields.get("n_kv_heads") or n_heads
    activation = str(fields.get("activation", ""))
    is_gated = activation in ("silu", "swish")  # families with these use a gate, a third matrix
    d_ff = fields.get("d_ff") or 4 * d_model
    attention = 2 * d_model * head_dim * (n_heads + n_kv_heads)
    feed_forward = (3 if is_gated else 2) * d_model * d_ff
    embeddings = vocab_size * d_model * (1 if fields.get("tie_embeddings", True) else 2)
    return int(embeddings + n_layers * (attention + feed_forward))


def likely_vocab_size(algorithm: str | None, asked: int | None) -> int:
    """Tokens the tokenizer will have, before it is learned."""
    # English text has some 70 to 100 different characters.
    return 80 if algorithm == "char" else asked or 8192


def in_words(count: int) -> str:
    """A count as 950 K, 3.1 M, 7.0 B or 4.0e+24."""
    for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f} {letter}" if count < 1000 * size else f"{count:.1e}"
    return str(count)
