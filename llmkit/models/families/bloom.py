"""BLOOM (Le Scao et al. 2022, arXiv:2211.05100): a decoder for 46 languages and 13 programming languages.

Peculiar: no position vectors but ALiBi, scores that fall off with distance; a norm right after the embedding, which
kept training of the largest model stable; norms before each branch and after the last block; a checkpoint layout that
stores query, key and value rows head by head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import InputRefused, UsageError
from llmkit.models.config import ModelConfig, setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "BloomForCausalLM",
    "classification": "BloomForSequenceClassification",
    "token_classification": "BloomForTokenClassification",
    "span": "BloomForQuestionAnswering",
    "backbone": "BloomModel",
}


@dataclass(frozen=True, kw_only=True)
class BloomConfig(ModelConfig):
    """Sizes of a BLOOM, and where its residual sums begin."""

    max_seq_len: int = setting(2048, low=1, high=2**24, help="longest sequence in training, in tokens; no limit")
    activation: str = setting("gelu_new", choices=("gelu_new",), help="activation of the feed-forward layer")
    residual_after_norm: bool = setting(False, help="add each branch to its normed input, not to the input itself")
    classifier_dropout: float | None = setting(
        None, low=0.0, high=1.0, help="dropout before the token classifier; none: as dropout"
    )
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_ff != 4 * self.d_model:
            raise UsageError(f"d_ff is {self.d_ff}; in this family it is always 4 * d_model", "leave d_ff out")


KEYS = {
    "vocab_size": Key("vocab_size", 250880),
    "d_model": Key("hidden_size", 64, also=("n_embed",)),
    "n_layers": Key("n_layer", 2, also=("num_hidden_layers",)),
    "n_heads": Key("n_head", 8, also=("num_attention_heads",)),
    "max_seq_len": Key("seq_length", 2048),  # published files say it; transformers does not ask
    "norm_eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("hidden_dropout", 0.0),
    "attention_dropout": Key("attention_dropout", 0.0),
    "residual_after_norm": Key("apply_residual_connection_post_layernorm", False),
    "classifier_dropout": Key("classifier_dropout", None),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    if r.flag("slow_but_exact", default=False) and r.whole("pretraining_tp", default=1) > 1:
        raise InputRefused(
            "config.json: 'slow_but_exact' with 'pretraining_tp' above 1 is unsupported for BLOOM: "
            "transformers then leaves the biases of the output projections out",
            "set slow_but_exact to false; the sums differ in their last digits only",
        )
    return {}


def build(c: BloomConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, counted_by_mask
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.init import init_normal, shrink_residual_branches
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.score_bias import Alibi
    from llmkit.nn.wiring import Block, NormedResidual, Residual, Stack

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    residual = NormedResidual if c.residual_after_norm else Residual

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.activation])
        return Block(
            attn=residual(attention, pre_norm=norm(), dropout=c.dropout),
            ffn=residual(feed_forward, pre_norm=norm(), dropout=c.dropout),
        )

    # Distances count tokens that are there, so that a gap in the attention mask is none in the text.
    embeddings = Embeddings(c.vocab_size, c.d_model, norm=norm(), places=counted_by_mask)
    model = decoder_model(
        c,
        embeddings,
        Stack([block() for _ in range(c.n_layers)], norm()),
        head_dropout=c.dropout if c.classifier_dropout is None else c.classifier_dropout,
        score_bias=Alibi(c.n_heads),
    )
    init_normal(model, c.init_std)
    shrink_residual_branches(model, c.n_layers)
    return model


def weight_rules(c: BloomConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Regroup, Rename, under

    base: list[Rule | Ignore] = [
        Rename("word_embeddings", "embeddings.token"),
        Rename("word_embeddings_layernorm", "embeddings.norm"),
        Rename("h.{i}.input_layernorm", "stack.blocks.{i}.attn.pre_norm"),
        Regroup(
            "h.{i}.self_attention.query_key_value",
            "stack.blocks.{i}.attn.body.qkv",
            groups=c.n_heads,
            parts=(c.head_dim, c.head_dim, c.head_dim),
        ),
        Rename("h.{i}.self_attention.dense", "stack.blocks.{i}.attn.body.out"),
        Rename("h.{i}.post_attention_layernorm", "stack.blocks.{i}.ffn.pre_norm"),
        Rename("h.{i}.mlp.dense_h_to_4h", "stack.blocks.{i}.ffn.body.up"),
        Rename("h.{i}.mlp.dense_4h_to_h", "stack.blocks.{i}.ffn.body.down"),
        Rename("ln_f", "stack.norm"),
    ]
    return [*under("transformer.", base, write=c.head != "backbone"), *decoder_head_rules(c, token_labels="classifier")]


FAMILY = Family(
    name="bloom",
    kind=Kind.DECODER,
    title="BLOOM",
    paper="Le Scao et al. 2022, arXiv:2211.05100",
    peculiar="pre-norm decoder with ALiBi and a norm after the embedding",
    objective="next token",
    positions="ALiBi",
    config_class=BloomConfig,
    heads=HEADS,
    keys=KEYS,
    token_ids={"bos_token_id": 1, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    build=build,
    weight_rules=weight_rules,
)
