"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"); GPT-3's shapes are the same.

Peculiar: norms before each branch and one after the last block, learned positions, tanh-approximated GELU, output
layer tied to the embedding, residual projections initialised smaller by sqrt(2 n_layers), and a checkpoint layout
that stores linear weights transposed (inputs first) with query, key and value side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, common_to_hf

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "GPT2LMHeadModel",
    "classification": "GPT2ForSequenceClassification",
    "backbone": "GPT2Model",
}


@dataclass(frozen=True, kw_only=True)
class Gpt2Config(ModelConfig):
    """Sizes of a GPT-2, and the two attention-scale switches that its checkpoints really store."""

    max_seq_len: int = setting(1024, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    activation: str = setting("gelu_new", choices=ACTIVATIONS, help="activation of the feed-forward layer")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of residual branches")
    embedding_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout of embeddings; none: as dropout")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    scale_attention: bool = setting(True, help="divide attention scores by the square root of the head width")
    scale_by_layer: bool = setting(False, help="divide attention scores by the layer's number too (Mistral's GPT-2)")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_kv_heads != self.n_heads or self.head_dim * self.n_heads != self.d_model:
            raise UsageError(
                "GPT-2 has one key and value head per query head, each d_model / n_heads wide; "
                f"n_kv_heads is {self.n_kv_heads}, head_dim is {self.head_dim}",
                "leave n_kv_heads and head_dim out",
            )


def config_from_hf(raw: Mapping[str, object]) -> Gpt2Config:
    r = HfConfig(raw, "GPT-2")
    r.refuse("add_cross_attention", False, because="it adds cross-attention layers")
    r.refuse("pruned_heads", {}, because="it removes single attention heads")
    r.refuse("quantization_config", {}, because="the weights are quantized")
    vocab_size = r.whole("vocab_size", default=50257)
    head = r.head(HEADS, default="causal_lm")
    return r.make(
        Gpt2Config,
        vocab_size=vocab_size,
        d_model=r.whole("n_embd", "hidden_size", default=768),
        n_layers=r.whole("n_layer", "num_hidden_layers", default=12),
        n_heads=r.whole("n_head", "num_attention_heads", default=12),
        d_ff=r.whole("n_inner", default=0),
        max_seq_len=r.whole("n_positions", "max_position_embeddings", default=1024),
        activation=r.text("activation_function", default="gelu_new"),
        norm_eps=r.number("layer_norm_epsilon", default=1e-5),
        dropout=r.number("resid_pdrop", default=0.1),
        embedding_dropout=r.number("embd_pdrop", default=0.1),
        attention_dropout=r.number("attn_pdrop", default=0.1),
        scale_attention=r.flag("scale_attn_weights", default=True),
        scale_by_layer=r.flag("scale_attn_by_inverse_layer_idx", default=False),
        init_std=r.number("initializer_range", default=0.02),
        tie_embeddings=r.flag("tie_word_embeddings", default=True),
        head=head,
        labels=r.labels(head),
        **r.token_ids(vocab_size, bos_token_id=50256, eos_token_id=50256),
    )


def config_to_hf(c: Gpt2Config) -> dict[str, object]:
    return common_to_hf(c, "gpt2", HEADS) | {
        "n_embd": c.d_model,
        "n_layer": c.n_layers,
        "n_head": c.n_heads,
        "n_inner": c.d_ff,
        "n_positions": c.max_seq_len,
        "activation_function": c.activation,
        "layer_norm_epsilon": c.norm_eps,
        "resid_pdrop": c.dropout,
        "embd_pdrop": c.dropout if c.embedding_dropout is None else c.embedding_dropout,
        "attn_pdrop": c.attention_dropout,
        "scale_attn_weights": c.scale_attention,
        "scale_attn_by_inverse_layer_idx": c.scale_by_layer,
    }


def build(c: Gpt2Config) -> DecoderModel:
    from llmkit.models.shells import DecoderModel
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, LastToken, LMHead, every_token
    from llmkit.nn.init import init_normal, shrink_residual_branches
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def block(layer: int) -> Block:
        scale = (c.head_dim**-0.5 if c.scale_attention else 1.0) / (layer + 1 if c.scale_by_layer else 1)
        attention = Attention(c.d_model, c.n_heads, scale=scale, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation])
        return Block(
            attn=Residual(attention, pre_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout),
            ffn=Residual(feed_forward, pre_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout),
        )

    embeddings = Embeddings(
        c.vocab_size,
        c.d_model,
        added={"position": LearnedPositions(c.max_seq_len, c.d_model)},
        dropout=c.dropout if c.embedding_dropout is None else c.embedding_dropout,
    )
    heads = {
        "causal_lm": lambda: LMHead(
            c.d_model, c.vocab_size, tied=embeddings.token.weight if c.tie_embeddings else None
        ),
        "classification": lambda: Decision(c.d_model, len(c.labels), bias=False),
        "backbone": lambda: None,
    }
    model = DecoderModel(
        c,
        embeddings,
        Stack([block(i) for i in range(c.n_layers)], LayerNorm(c.d_model, c.norm_eps)),
        heads[c.head](),
        select=LastToken(c.pad_id) if c.head == "classification" else every_token,
    )
    init_normal(model, c.init_std)
    shrink_residual_branches(model, c.n_layers)
    return model


def weight_rules(c: Gpt2Config) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Ignore, Rename, Transpose, under

    base: list[Rule | Ignore] = [
        Rename("wte", "embeddings.token"),
        Rename("wpe", "embeddings.added.position"),
        Rename("h.{i}.ln_1", "stack.blocks.{i}.attn.pre_norm"),
        Transpose("h.{i}.attn.c_attn", "stack.blocks.{i}.attn.body.qkv"),
        Transpose("h.{i}.attn.c_proj", "stack.blocks.{i}.attn.body.out"),
        Rename("h.{i}.ln_2", "stack.blocks.{i}.ffn.pre_norm"),
        Transpose("h.{i}.mlp.c_fc", "stack.blocks.{i}.ffn.body.up"),
        Transpose("h.{i}.mlp.c_proj", "stack.blocks.{i}.ffn.body.down"),
        Rename("ln_f", "stack.norm"),
        Ignore("h.{i}.attn.bias"),  # the causal mask, stored by old versions
        Ignore("h.{i}.attn.masked_bias"),
    ]
    output = (
        Alias("lm_head.weight", "embeddings.token.weight") if c.tie_embeddings else Rename("lm_head", "head.decoder")
    )
    return [*under("transformer.", base, write=c.head != "backbone"), output, Rename("score", "head.linear")]


FAMILY = Family(
    name="gpt2",
    kind=Kind.DECODER,
    title="GPT-2",
    paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    peculiar="pre-norm decoder with learned positions and a tied output layer",
    config_class=Gpt2Config,
    heads=HEADS,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    build=build,
    weight_rules=weight_rules,
)
