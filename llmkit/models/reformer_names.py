"""Names of settings and tensors in the checkpoints of Reformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmkit.models.config import ModelConfig
from llmkit.models.hf_config import HfConfig, Key

if TYPE_CHECKING:
    from llmkit.weights.rules import Ignore, Rule

KEYS = {
    "vocab_size": Key("vocab_size", 320),
    "d_model": Key("hidden_size", 256),
    "n_heads": Key("num_attention_heads", 12),
    "head_dim": Key("attention_head_size", 64),
    "d_ff": Key("feed_forward_size", 512),
    "max_seq_len": Key("max_position_embeddings", 4096),
    "activation": Key("hidden_act", "relu"),
    "norm_eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("hidden_dropout_prob", 0.05),
    "attention_dropout": Key("local_attention_probs_dropout_prob", 0.05),
    "hashed_dropout": Key("lsh_attention_probs_dropout_prob", 0.0),
    "classifier_dropout": Key("classifier_dropout", None),
    "init_std": Key("initializer_range", 0.02),
    "is_causal": Key("is_decoder", False),
    "local_chunk": Key("local_attn_chunk_length", 64),
    "local_before": Key("local_num_chunks_before", 1),
    "local_after": Key("local_num_chunks_after", 0),
    "hashed_chunk": Key("lsh_attn_chunk_length", 64),
    "hashed_before": Key("lsh_num_chunks_before", 1),
    "hashed_after": Key("lsh_num_chunks_after", 0),
    "n_hashes": Key("num_hashes", 1),
    "hash_seed": Key("hash_seed", None),
    "axial": Key("axial_pos_embds", True),
    "axial_std": Key("axial_norm_std", 1.0),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    layers = r.get("attn_layers", default=("local", "lsh") * 3)
    if not isinstance(layers, (list, tuple)) or not all(kind in ("local", "lsh") for kind in layers):
        raise r.wrong("attn_layers", layers, "a list of 'local' and 'lsh'")
    buckets = r.get("num_buckets", default=[])
    lists = {
        "n_buckets": [buckets] if type(buckets) is int else buckets,
        "axial_shape": r.get("axial_pos_shape", default=[64, 64]),
        "axial_widths": r.get("axial_pos_embds_dim", default=[64, 192]),
    }
    for name, value in lists.items():
        if not isinstance(value, (list, tuple)) or not all(type(n) is int for n in value):
            raise r.wrong(name, value, "a list of whole numbers")
    return {"layers": tuple(layers), "n_layers": len(layers)} | {name: tuple(lists[name]) for name in lists}


def more_to_hf(c: Any) -> dict[str, object]:
    return {
        "attn_layers": list(c.layers),
        "num_buckets": c.n_buckets[0] if len(c.n_buckets) == 1 else list(c.n_buckets) or None,
        "axial_pos_shape": list(c.axial_shape),
        "axial_pos_embds_dim": list(c.axial_widths),
        "tie_word_embeddings": False,
    }


def block_rules(c: Any) -> list[Rule | Ignore]:
    """Everything but the head."""
    from llmkit.weights.rules import JoinRows, Rename, Reshape

    (rows, columns), (first, second) = c.axial_shape, c.axial_widths if c.axial else (0, 0)
    table, ours = "embeddings.position_embeddings.", "embeddings.added.position"
    theirs, block, heads = "encoder.layers.{i}.", "stack.blocks.{i}.", c.n_heads * c.head_dim
    return [
        Rename("embeddings.word_embeddings", "embeddings.token"),
        Rename(table + "embedding", ours),
        Reshape(table + "weights.0", ours + ".rows", their_shape=(rows, 1, first), our_shape=(rows, first)),
        Reshape(table + "weights.1", ours + ".columns", their_shape=(1, columns, second), our_shape=(columns, second)),
        Rename(theirs + "attention.layer_norm", block + "attn.norm"),
        JoinRows(
            theirs + "attention.self_attention.",
            block + "attn.body.qkv",
            parts=("query", "key", "value"),
            rows=(heads, heads, heads),
        ),
        JoinRows(
            theirs + "attention.self_attention.",
            block + "attn.body.qk_v",
            parts=("query_key", "value"),
            rows=(heads, heads),
        ),
        Rename(theirs + "attention.output.dense", block + "attn.body.out"),
        Rename(theirs + "feed_forward.layer_norm", block + "ffn.norm"),
        Rename(theirs + "feed_forward.dense.dense", block + "ffn.body.up"),
        Rename(theirs + "feed_forward.output.dense", block + "ffn.body.down"),
        Rename("encoder.layer_norm", "stack.norm"),
    ]


def head_rules(c: ModelConfig) -> list[Rule | Ignore]:
    """The bias of the words is stored, but today's transformers does not add it."""
    from llmkit.weights.rules import Rename
    from llmkit.weights.unused import WithUnused

    words = WithUnused("lm_head.decoder", "head.decoder", unused="lm_head.bias")
    heads: dict[str, list[Rule | Ignore]] = {
        "causal_lm": [words],
        "masked_lm": [words],
        "classification": [Rename("classifier.dense", "head.pool.dense"), Rename("classifier.out_proj", "head.linear")],
        "span": [Rename("qa_outputs", "head.linear")],
        "backbone": [],
    }
    return heads[c.head]
