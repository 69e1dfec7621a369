"""Names of settings and tensors in the checkpoints of BERT and its kin (RoBERTa, ELECTRA ...), which share a layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.models.config import ModelConfig, setting
from llmkit.models.hf_config import Fixed, Key

if TYPE_CHECKING:
    from llmkit.weights.rules import Ignore, Rule


@dataclass(frozen=True, kw_only=True)
class BertLikeConfig(ModelConfig):
    """Settings that all of them store; defaults are BERT's."""

    max_seq_len: int = setting(512, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    norm_eps: float = setting(1e-12, low=0.0, high=1.0, help="added to the variance inside norms")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    n_segments: int = setting(2, low=1, high=1024, help="kinds of segments (sentence A, sentence B)")
    classifier_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout before the classifier")
    head: str = setting("masked_lm", help="what is computed from the hidden states")

    @property
    def head_dropout(self) -> float:
        """The rate before a classifier: its own, or the model's."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout


KEYS = {
    "vocab_size": Key("vocab_size", 30522),
    "d_model": Key("hidden_size", 768),
    "n_layers": Key("num_hidden_layers", 12),
    "n_heads": Key("num_attention_heads", 12),
    "d_ff": Key("intermediate_size", 3072),
    "max_seq_len": Key("max_position_embeddings", 512),
    "n_segments": Key("type_vocab_size", 2),
    "activation": Key("hidden_act", "gelu"),
    "norm_eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("hidden_dropout_prob", 0.1),
    "attention_dropout": Key("attention_probs_dropout_prob", 0.1),
    "classifier_dropout": Key("classifier_dropout", None),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}
FIXED = (
    Fixed("is_decoder", False, because="it turns the encoder into a left-to-right decoder"),
    Fixed("add_cross_attention", False, because="it adds cross-attention layers"),
    Fixed("position_embedding_type", "absolute", because="it replaces the learned positions"),
)


def embedding_rules() -> list[Rule | Ignore]:
    """Tables of tokens, positions and segments, and the norm over their sum."""
    from llmkit.weights.rules import Ignore, Rename

    return [
        Rename("embeddings.word_embeddings", "embeddings.token"),
        Rename("embeddings.position_embeddings", "embeddings.added.position"),
        Rename("embeddings.token_type_embeddings", "embeddings.added.segment"),
        Rename("embeddings.LayerNorm", "embeddings.norm"),
        Ignore("embeddings.position_ids"),
        Ignore("embeddings.token_type_ids"),
    ]


def block_rules(
    c: ModelConfig, layer: str = "encoder.layer.{i}.", block: str = "stack.blocks.{i}."
) -> list[Rule | Ignore]:
    """A post-norm block; layer, block: their name and ours of the i-th."""
    from llmkit.weights.rules import JoinRows, Rename

    return [
        JoinRows(
            layer + "attention.self.",
            block + "attn.body.qkv",
            parts=("query", "key", "value"),
            rows=(c.d_model, c.d_model, c.d_model),
        ),
        Rename(layer + "attention.output.dense", block + "attn.body.out"),
        Rename(layer + "attention.output.LayerNorm", block + "attn.post_norm"),
        Rename(layer + "intermediate.dense", block + "ffn.body.up"),
        Rename(layer + "output.dense", block + "ffn.body.down"),
        Rename(layer + "output.LayerNorm", block + "ffn.post_norm"),
    ]


def label_rules() -> dict[str, list[Rule | Ignore]]:
    """By head, the classifiers over a first token with a layer of its own (RoBERTa and later), tokens and spans."""
    from llmkit.weights.rules import Rename

    return {
        "classification": [Rename("classifier.dense", "head.pool.dense"), Rename("classifier.out_proj", "head.linear")],
        "token_classification": [Rename("classifier", "head.linear")],
        "span": [Rename("qa_outputs", "head.linear")],
        "backbone": [],
    }


def output_layer_rules(c: ModelConfig, theirs: str) -> list[Rule | Ignore]:
    """The decoder of a masked-word head, whose bias files keep under two names; theirs: what stands before both."""
    from llmkit.weights.rules import Alias, Rename

    if c.tie_embeddings:
        return [
            Rename(theirs + "bias", "head.decoder.bias"),
            Alias(theirs + "decoder.weight", "embeddings.token.weight"),
            Alias(theirs + "decoder.bias", "head.decoder.bias"),
        ]
    # Untied, transformers keeps a second bias that it stores but never adds; before version 5 both were one, which its
    # files hold under the second's name.
    return [
        Rename(theirs + "decoder", "head.decoder"),
        Alias(theirs + "bias", "head.decoder.bias", may_differ=True, stands_in=True, written=True),
    ]
