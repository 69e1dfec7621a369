"""LLaMA 1, 2 and 3 (Touvron et al. 2023, arXiv:2302.13971 and 2307.09288; Grattafiori et al. 2024, arXiv:2407.21783).

Peculiar: RMSNorm before each branch, rotary positions (with every way to stretch them that checkpoints use), a gated
SiLU feed-forward layer, several query heads per key and value head, no biases, untied output layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.rope import rope_from_hf, standard_scaling

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "LlamaForCausalLM",
    "classification": "LlamaForSequenceClassification",
    "token_classification": "LlamaForTokenClassification",
    "span": "LlamaForQuestionAnswering",
    "backbone": "LlamaModel",
}


@dataclass(frozen=True, kw_only=True)
class LlamaConfig(ModelConfig):
    """Sizes of a LLaMA. `rope_scaling` is the table that config.json stores, e.g. {rope_type: linear, factor: 2}."""

    max_seq_len: int = setting(2048, low=1, high=2**24, help="longest sequence, in tokens")
    activation: str = setting("silu", choices=ACTIVATIONS, help="activation of the feed-forward gate")
    norm_eps: float = setting(1e-6, low=0.0, high=1.0, help="added to the mean square inside norms")
    tie_embeddings: bool = setting(False, help="the output layer shares the embedding matrix")
    rope_theta: float = setting(10000.0, low=1.0, high=1e12, help="base of the rotary wavelengths")
    rope_scaling: Mapping[str, Any] | None = setting(None, help="how rotary positions are stretched; none: not at all")
    attention_bias: bool = setting(False, help="biases in the attention projections")
    ffn_bias: bool = setting(False, help="biases in the feed-forward projections")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)
    FREE: ClassVar[tuple[str, ...]] = ("n_kv_heads", "head_dim")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.n_heads:
            # Our parts would not mind when head_dim is given, but transformers refuses to open such a checkpoint.
            raise UsageError(f"d_model is {self.d_model}; it must be a multiple of n_heads, which is {self.n_heads}")
        if self.head_dim % 2:
            raise UsageError(f"head_dim is {self.head_dim}; rotary positions turn pairs, so it must be even")
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, Mapping):
            raise UsageError(f"rope_scaling is {self.rope_scaling!r}; it must be a table with 'rope_type'")
        scaling = standard_scaling(self.rope_scaling, head_dim=self.head_dim, max_seq_len=self.max_seq_len)
        object.__setattr__(self, "rope_scaling", scaling)

    def usual_d_ff(self) -> int:
        """Two thirds of four times the width, rounded up to a multiple of 64: the gate is a third matrix."""
        return (8 * self.d_model // 3 + 63) // 64 * 64


KEYS = {
    "vocab_size": Key("vocab_size", 32000),
    "d_model": Key("hidden_size", 4096),
    "n_layers": Key("num_hidden_layers", 32),
    "n_heads": Key("num_attention_heads", 32),
    "n_kv_heads": Key("num_key_value_heads", 0),
    "head_dim": Key("head_dim", 0),
    "d_ff": Key("intermediate_size", 11008),
    "max_seq_len": Key("max_position_embeddings", 2048),
    "activation": Key("hidden_act", "silu"),
    "norm_eps": Key("rms_norm_eps", 1e-6),
    "attention_dropout": Key("attention_dropout", 0.0),
    "attention_bias": Key("attention_bias", False),
    "ffn_bias": Key("mlp_bias", False),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", False),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    theta, scaling = rope_from_hf(r)
    return {"rope_theta": theta, "rope_scaling": scaling, "dropout": r.number("hidden_dropout_prob", default=0.0)}


def more_to_hf(c: LlamaConfig) -> dict[str, object]:
    rope = {"rope_type": "default", "rope_theta": c.rope_theta} | dict(c.rope_scaling or {})
    # The papers train without dropout; when a recipe wants it, it must survive a save. transformers ignores the key.
    return {"rope_parameters": rope} | ({"hidden_dropout_prob": c.dropout} if c.dropout else {})


def build(c: LlamaConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.feedforward import GatedFeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import RMSNorm
    from llmkit.nn.positions import Rotary
    from llmkit.nn.wiring import Block, Residual, Stack

    def block() -> Block:
        attention = Attention(
            c.d_model,
            c.n_heads,
            n_kv_heads=c.n_kv_heads,
            head_dim=c.head_dim,
            bias=c.attention_bias,
            dropout=c.attention_dropout,
        )
        feed_forward = GatedFeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation], bias=c.ffn_bias)
        return Block(
            attn=Residual(attention, pre_norm=RMSNorm(c.d_model, c.norm_eps), dropout=c.dropout),
            ffn=Residual(feed_forward, pre_norm=RMSNorm(c.d_model, c.norm_eps), dropout=c.dropout),
        )

    model = decoder_model(
        c,
        Embeddings(c.vocab_size, c.d_model, dropout=c.dropout),
        Stack([block() for _ in range(c.n_layers)], RMSNorm(c.d_model, c.norm_eps)),
        head_dropout=0.1,
        rotary=Rotary(c.head_dim, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len),
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: LlamaConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, JoinRows, Rename, under

    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    base: list[Rule | Ignore] = [
        Rename("embed_tokens", "embeddings.token"),
        Rename("layers.{i}.input_layernorm", "stack.blocks.{i}.attn.pre_norm"),
        JoinRows(
            "layers.{i}.self_attn.",
            "stack.blocks.{i}.attn.body.qkv",
            parts=("q_proj", "k_proj", "v_proj"),
            rows=(q, kv, kv),
        ),
        Rename("layers.{i}.self_attn.o_proj", "stack.blocks.{i}.attn.body.out"),
        Rename("layers.{i}.post_attention_layernorm", "stack.blocks.{i}.ffn.pre_norm"),
        Rename("layers.{i}.mlp.gate_proj", "stack.blocks.{i}.ffn.body.gate"),
        Rename("layers.{i}.mlp.up_proj", "stack.blocks.{i}.ffn.body.up"),
        Rename("layers.{i}.mlp.down_proj", "stack.blocks.{i}.ffn.body.down"),
        Rename("norm", "stack.norm"),
        Ignore("layers.{i}.self_attn.rotary_emb.inv_freq"),  # computed from the config
        Ignore("rotary_emb.inv_freq"),
    ]
    prefix = "transformer." if c.head == "span" else "model."  # the class for spans has a name of its own for it
    return [*under(prefix, base, write=c.head != "backbone"), *decoder_head_rules(c)]


FAMILY = Family(
    name="llama",
    kind=Kind.DECODER,
    title="LLaMA",
    paper="Touvron et al. 2023, arXiv:2302.13971",
    peculiar="pre-norm decoder with RMSNorm, rotary positions, gated feed-forward and grouped queries",
    objective="next token",
    positions="rotary",
    config_class=LlamaConfig,
    heads=HEADS,
    keys=KEYS,
    token_ids={"bos_token_id": 1, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
