"""What LLaMA and its kin (Mistral, Mixtral, Gemma) call their settings and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.hf_config import Fixed, HfConfig, Key
from llmkit.models.rope import RotaryConfig, rope_from_hf, rope_to_hf

if TYPE_CHECKING:
    from llmkit.weights.rules import Ignore, Rule


@dataclass(frozen=True, kw_only=True)
class LlamaLikeConfig(RotaryConfig):
    """Settings that all of them store; defaults are LLaMA's."""

    max_seq_len: int = setting(2048, low=1, high=2**24, help="longest sequence, in tokens")
    activation: str = setting("silu", choices=ACTIVATIONS, help="activation of the feed-forward gate")
    norm_eps: float = setting(1e-6, low=0.0, high=1.0, help="added to the mean square inside norms")
    tie_embeddings: bool = setting(False, help="the output layer shares the embedding matrix")
    classifier_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout before the token classifier")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    FREE: ClassVar[tuple[str, ...]] = ("n_kv_heads", "head_dim")

    @property
    def head_dropout(self) -> float:
        """The rate before the token classifier when nobody chose one is 0.1, whatever the model's."""
        return 0.1 if self.classifier_dropout is None else self.classifier_dropout

    def usual_d_ff(self) -> int:
        """Two thirds of four times the width, rounded up to a multiple of 64: the gate is a third matrix."""
        return (8 * self.d_model // 3 + 63) // 64 * 64


# What a key's absence means differs from family to family; these are LLaMA's, and each replaces what is not its own.
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
    "classifier_dropout": Key("classifier_dropout", None, fallback=("hidden_dropout",)),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", False),
}
FIXED = (Fixed("token_classification_bias", True, because="it takes the bias from the token classifier"),)


def more_from_hf(r: HfConfig, *, theta: float = 10000.0) -> dict[str, Any]:
    """Rotary settings and the dropout rate; theta: what the family assumes when the file does not say."""
    return {**rope_from_hf(r, theta=theta), "dropout": r.number("hidden_dropout_prob", default=0.0)}


def more_to_hf(c: LlamaLikeConfig) -> dict[str, object]:
    # The papers train without dropout; when a recipe wants it, it must survive a save. transformers ignores the key.
    return rope_to_hf(c) | ({"hidden_dropout_prob": c.dropout} if c.dropout else {})


def base_rules(c: ModelConfig) -> list[Rule | Ignore]:
    """Everything but the head and the feed-forward layers, without prefix."""
    from llmkit.weights.rules import Ignore, JoinRows, Rename

    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    return [
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
        Rename("norm", "stack.norm"),
        Ignore("layers.{i}.self_attn.rotary_emb.inv_freq"),  # computed from the config
        Ignore("rotary_emb.inv_freq"),
    ]


def gated_rules() -> list[Rule | Ignore]:
    """Gated feed-forward layers, without prefix."""
    from llmkit.weights.rules import Rename

    return [
        Rename("layers.{i}.mlp.gate_proj", "stack.blocks.{i}.ffn.body.gate"),
        Rename("layers.{i}.mlp.up_proj", "stack.blocks.{i}.ffn.body.up"),
        Rename("layers.{i}.mlp.down_proj", "stack.blocks.{i}.ffn.body.down"),
    ]
