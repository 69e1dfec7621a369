"""BERT (Devlin et al. 2018, arXiv:1810.04805): the encoder that learns by filling in masked words.

Peculiar: norms after each residual sum, segment embeddings for sentence pairs, a norm after the embeddings, a
"pooler" on the first token for pair and sentence decisions, and an output layer (dense, activation, norm) before the
decoder, which shares the embedding matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, common_to_hf

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Rule

HEADS = {
    "pretraining": "BertForPreTraining",
    "masked_lm": "BertForMaskedLM",
    "classification": "BertForSequenceClassification",
    "backbone": "BertModel",
}


@dataclass(frozen=True, kw_only=True)
class BertConfig(ModelConfig):
    """Sizes of a BERT; defaults are the paper's rates and the published models' limits."""

    max_seq_len: int = setting(512, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    norm_eps: float = setting(1e-12, low=0.0, high=1.0, help="added to the variance inside norms")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    n_segments: int = setting(2, low=1, high=1024, help="kinds of segments (sentence A, sentence B)")
    classifier_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout before the classifier")
    head: str = setting("pretraining", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_kv_heads != self.n_heads or self.head_dim * self.n_heads != self.d_model:
            raise UsageError(
                "BERT has one key and value head per query head, each d_model / n_heads wide; "
                f"n_kv_heads is {self.n_kv_heads}, head_dim is {self.head_dim}",
                "leave n_kv_heads and head_dim out",
            )


def config_from_hf(raw: Mapping[str, object]) -> BertConfig:
    r = HfConfig(raw, "BERT")
    r.refuse("is_decoder", False, because="it turns the encoder into a left-to-right decoder")
    r.refuse("add_cross_attention", False, because="it adds cross-attention layers")
    r.refuse("position_embedding_type", "absolute", because="it replaces the learned positions")
    r.refuse("pruned_heads", {}, because="it removes single attention heads")
    r.refuse("quantization_config", {}, because="the weights are quantized")
    vocab_size = r.int("vocab_size", default=30522)
    head = r.head(HEADS, default="masked_lm")
    return r.make(
        BertConfig,
        vocab_size=vocab_size,
        d_model=r.int("hidden_size", default=768),
        n_layers=r.int("num_hidden_layers", default=12),
        n_heads=r.int("num_attention_heads", default=12),
        d_ff=r.int("intermediate_size", default=3072),
        max_seq_len=r.int("max_position_embeddings", default=512),
        n_segments=r.int("type_vocab_size", default=2),
        activation=r.text("hidden_act", default="gelu"),
        norm_eps=r.float("layer_norm_eps", default=1e-12),
        dropout=r.float("hidden_dropout_prob", default=0.1),
        attention_dropout=r.float("attention_probs_dropout_prob", default=0.1),
        classifier_dropout=r.float("classifier_dropout", default=None),
        init_std=r.float("initializer_range", default=0.02),
        tie_embeddings=r.flag("tie_word_embeddings", default=True),
        head=head,
        labels=r.labels(head),
        **r.token_ids(vocab_size, pad_token_id=0),
    )


def config_to_hf(c: BertConfig) -> dict[str, object]:
    return common_to_hf(c, "bert", HEADS) | {
        "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "intermediate_size": c.d_ff,
        "max_position_embeddings": c.max_seq_len,
        "type_vocab_size": c.n_segments,
        "hidden_act": c.activation,
        "layer_norm_eps": c.norm_eps,
        "hidden_dropout_prob": c.dropout,
        "attention_probs_dropout_prob": c.attention_dropout,
        "classifier_dropout": c.classifier_dropout,
    }


def build(c: BertConfig) -> EncoderModel:
    raise NotImplementedError


def weight_rules(c: BertConfig) -> list[Rule]:
    raise NotImplementedError


FAMILY = Family(
    name="bert",
    kind=Kind.ENCODER,
    title="BERT",
    paper="Devlin et al. 2018, arXiv:1810.04805",
    peculiar="post-norm encoder with segment embeddings, masked words and next-sentence prediction",
    config_class=BertConfig,
    heads=HEADS,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    build=build,
    weight_rules=weight_rules,
)
