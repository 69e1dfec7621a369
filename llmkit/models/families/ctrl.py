"""CTRL (Keskar et al. 2019, arXiv:1909.05858): a decoder steered by a control code, the first token of every text.

Peculiar: sinusoidal positions beside token vectors scaled by sqrt(d_model); ReLU; norms before each branch and one
after the last block; a bias on the output layer, whose matrix is the embedding's. Control codes ("Wikipedia",
"Reviews", "Links") are tokens like any other, so nothing here knows of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.config import ModelConfig, setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "CTRLLMHeadModel",
    "classification": "CTRLForSequenceClassification",
    "backbone": "CTRLModel",
}
BLOCK_NORM_EPS = 1e-6  # whatever config.json says; that is for the last norm alone


@dataclass(frozen=True, kw_only=True)
class CtrlConfig(ModelConfig):
    """Sizes of a CTRL; defaults are the paper's rates."""

    max_seq_len: int = setting(512, low=1, high=2**24, help="longest sequence, in tokens (sinusoidal positions)")
    activation: str = setting("relu", choices=("relu",), help="activation of the feed-forward layer")
    norm_eps: float = setting(1e-6, low=0.0, high=1.0, help="added to the variance inside the last norm")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of residual branches")
    embedding_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout of embeddings; none: as dropout")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dropout is None:
            object.__setattr__(self, "embedding_dropout", self.dropout)


KEYS = {
    "vocab_size": Key("vocab_size", 246534),
    "d_model": Key("n_embd", 1280, also=("hidden_size",)),
    "n_layers": Key("n_layer", 48, also=("num_hidden_layers",)),
    "n_heads": Key("n_head", 16, also=("num_attention_heads",)),
    "d_ff": Key("dff", 8192),
    "max_seq_len": Key("n_positions", 256, also=("max_position_embeddings",)),
    "norm_eps": Key("layer_norm_epsilon", 1e-6),
    "dropout": Key("resid_pdrop", 0.1),
    "embedding_dropout": Key("embd_pdrop", 0.1),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    # Not from attn_pdrop, which old files set to 0.1: neither the paper nor transformers drops attention weights.
    return {"attention_dropout": r.number("attention_dropout", default=0.0)}


def more_to_hf(c: CtrlConfig) -> dict[str, object]:
    # What a recipe adds must survive a save; transformers ignores the key.
    return {"attention_dropout": c.attention_dropout} if c.attention_dropout else {}


def build(c: CtrlConfig) -> DecoderModel:
    import torch

    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, Scale, SinusoidalPositions
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def residual(body: Attention | FeedForward) -> Residual:
        return Residual(body, pre_norm=LayerNorm(c.d_model, BLOCK_NORM_EPS), dropout=c.dropout)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), ffn=residual(FeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.activation])))

    embeddings = Embeddings(
        c.vocab_size,
        c.d_model,
        token_project=Scale(c.d_model**0.5),
        added={"position": SinusoidalPositions(c.d_model, limit=c.max_seq_len, dtype=torch.float32)},
        dropout=c.embedding_dropout or 0.0,
    )
    stack = Stack([block() for _ in range(c.n_layers)], LayerNorm(c.d_model, c.norm_eps))
    model = decoder_model(c, embeddings, stack, lm_bias=True)
    init_normal(model, c.init_std)
    return model


def weight_rules(c: CtrlConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, JoinRows, Rename, under

    d, block = c.d_model, "stack.blocks.{i}."
    base: list[Rule | Ignore] = [
        Rename("w", "embeddings.token"),
        Rename("h.{i}.layernorm1", block + "attn.pre_norm"),
        JoinRows("h.{i}.multi_head_attention.", block + "attn.body.qkv", parts=("Wq", "Wk", "Wv"), rows=(d, d, d)),
        Rename("h.{i}.multi_head_attention.dense", block + "attn.body.out"),
        Rename("h.{i}.layernorm2", block + "ffn.pre_norm"),
        Rename("h.{i}.ffn.0", block + "ffn.body.up"),
        Rename("h.{i}.ffn.2", block + "ffn.body.down"),
        Rename("layernorm", "stack.norm"),
        Ignore("pos_encoding"),  # computed
    ]
    return [
        *under("transformer.", base, write=c.head != "backbone"),
        *decoder_head_rules(c, labels="classifier"),
        Rename("lm_head.bias", "head.decoder.bias"),
    ]


FAMILY = Family(
    name="ctrl",
    kind=Kind.DECODER,
    title="CTRL",
    paper="Keskar et al. 2019, arXiv:1909.05858",
    peculiar="pre-norm decoder with sinusoidal positions, scaled embeddings and texts that begin with a control code",
    objective="next token",
    positions="sinusoidal",
    config_class=CtrlConfig,
    heads=HEADS,
    keys=KEYS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
