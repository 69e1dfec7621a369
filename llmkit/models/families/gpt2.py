"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"); GPT-3's shapes are the same.

Peculiar: norms before each branch and one after the last block, learned positions, tanh-approximated GELU, output
layer tied to the embedding, residual projections initialised smaller by sqrt(2 n_layers), and a checkpoint layout
that stores linear weights transposed (inputs first) with query, key and value side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, Key

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "GPT2LMHeadModel",
    "classification": "GPT2ForSequenceClassification",
    "token_classification": "GPT2ForTokenClassification",
    "span": "GPT2ForQuestionAnswering",
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
    classifier_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout before the token classifier")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


KEYS = {
    "vocab_size": Key("vocab_size", 50257),
    "d_model": Key("n_embd", 768, also=("hidden_size",)),
    "n_layers": Key("n_layer", 12, also=("num_hidden_layers",)),
    "n_heads": Key("n_head", 12, also=("num_attention_heads",)),
    "d_ff": Key("n_inner", 0),
    "max_seq_len": Key("n_positions", 1024, also=("max_position_embeddings",)),
    "activation": Key("activation_function", "gelu_new"),
    "norm_eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("resid_pdrop", 0.1),
    "embedding_dropout": Key("embd_pdrop", 0.1),
    "attention_dropout": Key("attn_pdrop", 0.1),
    "scale_attention": Key("scale_attn_weights", True),
    "scale_by_layer": Key("scale_attn_by_inverse_layer_idx", False),
    "classifier_dropout": Key("classifier_dropout", None, fallback=("hidden_dropout",)),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def more_to_hf(c: Gpt2Config) -> dict[str, object]:
    return {"embd_pdrop": c.dropout if c.embedding_dropout is None else c.embedding_dropout}


def build(c: Gpt2Config) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions
    from llmkit.nn.feedforward import FeedForward
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
    stack = Stack([block(i) for i in range(c.n_layers)], LayerNorm(c.d_model, c.norm_eps))
    rate = 0.1 if c.classifier_dropout is None else c.classifier_dropout
    model = decoder_model(c, embeddings, stack, head_dropout=rate)
    init_normal(model, c.init_std)
    shrink_residual_branches(model, c.n_layers)
    return model


def weight_rules(c: Gpt2Config) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, Rename, Transpose, under

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
    return [*under("transformer.", base, write=c.head != "backbone"), *decoder_head_rules(c, token_labels="classifier")]


FAMILY = Family(
    name="gpt2",
    kind=Kind.DECODER,
    title="GPT-2",
    paper="Radford et al. 2019, Language Models are Unsupervised Multitask Learners",
    peculiar="pre-norm decoder with learned positions and a tied output layer",
    objective="next token",
    positions="learned",
    config_class=Gpt2Config,
    heads=HEADS,
    keys=KEYS,
    fixed=(Fixed("add_cross_attention", False, because="it adds cross-attention layers"),),
    token_ids={"bos_token_id": 50256, "eos_token_id": 50256},
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
