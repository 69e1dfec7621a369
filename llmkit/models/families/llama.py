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
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, common_to_hf
from llmkit.models.rope import standard_scaling

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "LlamaForCausalLM",
    "classification": "LlamaForSequenceClassification",
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


def config_from_hf(raw: Mapping[str, object]) -> LlamaConfig:
    r = HfConfig(raw, "LLaMA")
    r.refuse("quantization_config", {}, because="the weights are quantized")
    r.refuse("pruned_heads", {}, because="it removes single attention heads")
    vocab_size = r.whole("vocab_size", default=32000)
    head = r.head(HEADS, default="causal_lm")
    rope_theta, rope_scaling = _rope_from_hf(r)
    return r.make(
        LlamaConfig,
        vocab_size=vocab_size,
        d_model=r.whole("hidden_size", default=4096),
        n_layers=r.whole("num_hidden_layers", default=32),
        n_heads=r.whole("num_attention_heads", default=32),
        n_kv_heads=r.whole("num_key_value_heads", default=0),
        head_dim=r.whole("head_dim", default=0),
        d_ff=r.whole("intermediate_size", default=11008),
        max_seq_len=r.whole("max_position_embeddings", default=2048),
        activation=r.text("hidden_act", default="silu"),
        norm_eps=r.number("rms_norm_eps", default=1e-6),
        dropout=r.number("hidden_dropout_prob", default=0.0),
        attention_dropout=r.number("attention_dropout", default=0.0),
        rope_theta=rope_theta,
        rope_scaling=rope_scaling,
        attention_bias=r.flag("attention_bias", default=False),
        ffn_bias=r.flag("mlp_bias", default=False),
        init_std=r.number("initializer_range", default=0.02),
        tie_embeddings=r.flag("tie_word_embeddings", default=False),
        head=head,
        labels=r.labels(head),
        **r.token_ids(vocab_size, bos_token_id=1, eos_token_id=2),
    )


def _rope_from_hf(r: HfConfig) -> tuple[float, dict[str, Any]]:
    """theta and scaling. transformers 5 writes one table `rope_parameters`; older files have `rope_theta` and a table
    `rope_scaling`, which wins where both are."""
    key = "rope_scaling" if r.raw.get("rope_scaling") else "rope_parameters"
    table = r.get(key, default={})
    if not isinstance(table, Mapping):
        raise r.wrong(key, table, "a table")
    if any(isinstance(entry, Mapping) for entry in table.values()):
        raise r.wrong(key, table, "one table for all layers")
    both = HfConfig({**r.raw, **table}, r.title)
    scaling = dict(table)
    if scaling.get("rope_type", scaling.get("type")) == "proportional":
        scaling["partial_rotary_factor"] = both.number("partial_rotary_factor", default=1.0)
    else:
        both.refuse("partial_rotary_factor", 1, 1.0, because="LLaMA rotates whole heads")
    outside = r.whole("original_max_position_embeddings", default=None)
    if outside is not None:
        scaling["original_max_position_embeddings"] = outside  # beside the table, it wins in transformers too
    return float(both.number("rope_theta", default=10000.0)), scaling


def config_to_hf(c: LlamaConfig) -> dict[str, object]:
    stored = common_to_hf(c, "llama", HEADS) | {
        "hidden_size": c.d_model,
        "num_hidden_layers": c.n_layers,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "head_dim": c.head_dim,
        "intermediate_size": c.d_ff,
        "max_position_embeddings": c.max_seq_len,
        "hidden_act": c.activation,
        "rms_norm_eps": c.norm_eps,
        "attention_dropout": c.attention_dropout,
        "rope_parameters": {"rope_type": "default", "rope_theta": c.rope_theta} | dict(c.rope_scaling or {}),
        "attention_bias": c.attention_bias,
        "mlp_bias": c.ffn_bias,
    }
    if c.dropout:
        # The papers train without; when a recipe wants it, it must survive a save. transformers ignores the key.
        stored["hidden_dropout_prob"] = c.dropout
    return stored


def build(c: LlamaConfig) -> DecoderModel:
    from llmkit.models.shells import DecoderModel
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.feedforward import GatedFeedForward
    from llmkit.nn.heads import Decision, LastToken, LMHead, every_token
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

    embeddings = Embeddings(c.vocab_size, c.d_model, dropout=c.dropout)
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
        Stack([block() for _ in range(c.n_layers)], RMSNorm(c.d_model, c.norm_eps)),
        heads[c.head](),
        rotary=Rotary(c.head_dim, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len),
        select=LastToken(c.pad_id) if c.head == "classification" else every_token,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: LlamaConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Ignore, JoinRows, Rename, under

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
    output = (
        Alias("lm_head.weight", "embeddings.token.weight") if c.tie_embeddings else Rename("lm_head", "head.decoder")
    )
    return [*under("model.", base, write=c.head != "backbone"), output, Rename("score", "head.linear")]


FAMILY = Family(
    name="llama",
    kind=Kind.DECODER,
    title="LLaMA",
    paper="Touvron et al. 2023, arXiv:2302.13971",
    peculiar="pre-norm decoder with RMSNorm, rotary positions, gated feed-forward and grouped queries",
    config_class=LlamaConfig,
    heads=HEADS,
    config_from_hf=config_from_hf,
    config_to_hf=config_to_hf,
    build=build,
    weight_rules=weight_rules,
)
