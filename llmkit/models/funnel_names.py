"""Names of settings and tensors in the checkpoints of Funnel-Transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmkit.models.config import ModelConfig
from llmkit.models.hf_config import HfConfig, Key

if TYPE_CHECKING:
    from llmkit.weights.rules import Ignore, Rule

KEYS = {
    "vocab_size": Key("vocab_size", 30522),
    "d_model": Key("d_model", 768, also=("hidden_size",)),
    "n_heads": Key("n_head", 12, also=("num_attention_heads",)),
    "head_dim": Key("d_head", 64),
    "d_ff": Key("d_inner", 3072),
    "n_decoder_layers": Key("num_decoder_layers", 2),
    "max_seq_len": Key("max_position_embeddings", 512),  # of old files; nothing depends on it
    "activation": Key("hidden_act", "gelu_new"),
    "norm_eps": Key("layer_norm_eps", 1e-9),
    "dropout": Key("hidden_dropout", 0.1),
    "attention_dropout": Key("attention_dropout", 0.1),
    "ffn_dropout": Key("activation_dropout", 0.0),
    "pooling": Key("pooling_type", "mean"),
    "separate_first": Key("separate_cls", True),
    "cut_last": Key("truncate_seq", True),
    "attention_type": Key("attention_type", "relative_shift"),
    "relative_init": Key("initializer_range", 0.1),
    "init_std": Key("initializer_std", 0.0),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


# What checkpoints call the vectors beside the projections.
VECTORS = {
    "r_w_bias": "content_bias",
    "r_r_bias": "position_bias",
    "r_s_bias": "segment_bias",
    "r_kernel": "position_kernel",
    "seg_embed": "segment_keys",
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    sizes = _numbers(r, "block_sizes", (4, 4, 4))
    return {
        "n_layers": sum(sizes),
        "block_sizes": sizes,
        "block_repeats": _numbers(r, "block_repeats", ()),
        "pool_all": not r.flag("pool_q_only", default=True),
    }


def _numbers(r: HfConfig, name: str, default: Sequence[int]) -> tuple[int, ...]:
    value = r.get(name, default=default)
    if not isinstance(value, (list, tuple)) or not all(type(n) is int for n in value):
        raise r.wrong(name, value, "a list of whole numbers")
    return tuple(value)


def more_to_hf(c: Any) -> dict[str, object]:
    sizes = {"block_sizes": list(c.block_sizes), "block_repeats": list(c.block_repeats)}
    return {**sizes, "pool_q_only": not c.pool_all, "initializer_std": c.init_std or None}


def layer_rules(c: ModelConfig, theirs: str, ours: str) -> list[Rule | Ignore]:
    """One layer; theirs, ours: what it is called."""
    from llmkit.weights.rules import JoinRows, Rename

    kv = c.n_heads * c.head_dim
    return [
        Rename(f"{theirs}.attention.q_head", f"{ours}.attn.body.q"),
        JoinRows(f"{theirs}.attention.", f"{ours}.attn.body.kv", parts=("k_head", "v_head"), rows=(kv, kv)),
        *(Rename(f"{theirs}.attention.{name}", f"{ours}.attn.body.{VECTORS[name]}") for name in VECTORS),
        Rename(f"{theirs}.attention.post_proj", f"{ours}.attn.body.out"),
        Rename(f"{theirs}.attention.layer_norm", f"{ours}.attn.post_norm"),
        Rename(f"{theirs}.ffn.linear_1", f"{ours}.ffn.body.up"),
        Rename(f"{theirs}.ffn.linear_2", f"{ours}.ffn.body.down"),
        Rename(f"{theirs}.ffn.layer_norm", f"{ours}.ffn.post_norm"),
    ]
