"""What ProphetNet's checkpoints call their settings and tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.models.config import EncoderDecoderConfig
from llmkit.models.hf_config import Key

if TYPE_CHECKING:
    from llmkit.weights.rules import Ignore, Rule

KEYS = {
    "vocab_size": Key("vocab_size", 30522),
    "d_model": Key("hidden_size", 1024),
    "n_layers": Key("num_encoder_layers", 12),
    "n_heads": Key("num_encoder_attention_heads", 16),
    "d_ff": Key("encoder_ffn_dim", 4096),
    "n_decoder_layers": Key("num_decoder_layers", 12),
    "n_decoder_heads": Key("num_decoder_attention_heads", 16),
    "d_decoder_ff": Key("decoder_ffn_dim", 4096),
    "activation": Key("activation_function", "gelu"),
    "dropout": Key("dropout", 0.1),
    "attention_dropout": Key("attention_dropout", 0.1),
    "ffn_dropout": Key("activation_dropout", 0.1),
    "ngram": Key("ngram", 2),
    "n_buckets": Key("num_buckets", 32),
    "max_distance": Key("relative_max_distance", 128),
    "next_token_only": Key("disable_ngram_loss", False, kept=True),
    "label_smoothing": Key("eps", 0.0, kept=True),
    "use_cache": Key("use_cache", True, kept=True),
    "decoder_start_id": Key("decoder_start_token_id", 0),
    "init_std": Key("init_std", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def tower_rules(c: EncoderDecoderConfig, tower: str, n_buckets: int) -> list[Rule | Ignore]:
    """One tower, "encoder." or "decoder."; the names are the same on both sides but for its own name."""
    from llmkit.weights.rules import JoinRows, Regroup, Rename

    d, layer, block = c.d_model, tower + "layers.{i}.", tower + "stack.blocks.{i}."
    qkv = ("query_proj", "key_proj", "value_proj")
    rules: list[Rule | Ignore] = [
        Rename(tower + "position_embeddings", tower + "embeddings.added.position"),
        Rename(tower + "embeddings_layer_norm", tower + "embeddings.norm"),
        JoinRows(layer + "self_attn.", block + "attn.body.qkv", parts=qkv, rows=(d, d, d)),
        Rename(layer + "self_attn.out_proj", block + "attn.body.out"),
        Rename(layer + "self_attn_layer_norm", block + "attn.post_norm"),
        Regroup(
            layer + "self_attn.relative_pos_embeddings",
            block + "attn.body.by_distance",
            groups=n_buckets,
            parts=(1,) * c.n_decoder_heads,
        ),
        Rename(layer + "cross_attn.query_proj", block + "cross.body.q"),
        JoinRows(layer + "cross_attn.", block + "cross.body.kv", parts=qkv[1:], rows=(d, d)),
        Rename(layer + "cross_attn.out_proj", block + "cross.body.out"),
        Rename(layer + "cross_attn_layer_norm", block + "cross.post_norm"),
        Rename(layer + "feed_forward.intermediate", block + "ffn.body.up"),
        Rename(layer + "feed_forward.output", block + "ffn.body.down"),
        Rename(layer + "feed_forward_layer_norm", block + "ffn.post_norm"),
    ]
    return rules
