"""Mixtral (Jiang et al. 2024, arXiv:2401.04088): Mistral with eight feed-forward layers in place of one.

Peculiar: a router sends every token of every layer to two of eight experts and adds up what they say, weighted by its
probabilities, scaled to sum to 1; so it knows as much as a large model and costs as much as a small one. In training
a further loss keeps the experts equally busy. All else is Mistral's: RMSNorm, rotary positions, grouped queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.errors import UsageError
from llmkit.models import llama_names
from llmkit.models.config import setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.llama_names import LlamaLikeConfig, more_to_hf
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "MixtralForCausalLM",
    "classification": "MixtralForSequenceClassification",
    "token_classification": "MixtralForTokenClassification",
    "span": "MixtralForQuestionAnswering",
    "backbone": "MixtralModel",
}


@dataclass(frozen=True, kw_only=True)
class MixtralConfig(LlamaLikeConfig):
    """Sizes of a Mixtral. d_ff is the width of one expert."""

    max_seq_len: int = setting(131072, low=1, high=2**24, help="longest sequence, in tokens")
    norm_eps: float = setting(1e-5, low=0.0, high=1.0, help="added to the mean square inside norms")
    rope_theta: float = setting(1e6, low=1.0, high=1e12, help="base of the rotary wavelengths")
    window: int | None = setting(None, low=1, high=2**24, help="tokens that a token sees, itself included; none: all")
    n_experts: int = setting(8, low=1, high=4096, help="feed-forward layers to choose from")
    experts_per_token: int = setting(2, low=1, high=4096, help="how many of them a token goes through")
    router_jitter: float = setting(0.0, low=0.0, high=1.0, help="noise on what routers and experts see, in training")
    balance_loss: bool = setting(True, help="transformers trains experts to be equally busy; kept for it")
    balance_weight: float = setting(0.001, low=0.0, high=1e3, help="weight of that loss; kept for transformers")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.experts_per_token > self.n_experts:
            raise UsageError(
                f"experts_per_token is {self.experts_per_token}; it must be at most n_experts, {self.n_experts}"
            )


KEYS = llama_names.KEYS | {
    "n_kv_heads": Key("num_key_value_heads", 8, null=0),
    "d_ff": Key("intermediate_size", 14336),
    "max_seq_len": Key("max_position_embeddings", 131072),
    "norm_eps": Key("rms_norm_eps", 1e-5),
    "window": Key("sliding_window", None),
    "n_experts": Key("num_local_experts", 8, also=("num_experts",)),
    "experts_per_token": Key("num_experts_per_tok", 2),
    "router_jitter": Key("router_jitter_noise", 0.0),
    "balance_loss": Key("output_router_logits", False, kept=True),
    "balance_weight": Key("router_aux_loss_coef", 0.001, kept=True),
}


def more_from_hf(r: HfConfig) -> dict[str, object]:
    return llama_names.more_from_hf(r, theta=1e6)


def build(c: MixtralConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.init import init_normal
    from llmkit.nn.moe import GatedExperts, MixtureOfExperts, TopRouter
    from llmkit.nn.norms import RMSNorm
    from llmkit.nn.positions import Rotary
    from llmkit.nn.wiring import Block, Residual, Stack

    def norm() -> RMSNorm:
        return RMSNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(
            c.d_model,
            c.n_heads,
            n_kv_heads=c.n_kv_heads,
            head_dim=c.head_dim,
            bias=False,
            dropout=c.attention_dropout,
        )
        experts = GatedExperts(c.d_model, c.d_ff, ACTIVATIONS[c.activation], n_experts=c.n_experts)
        router = TopRouter(c.d_model, c.n_experts, c.experts_per_token)
        return Block(
            attn=Residual(attention, pre_norm=norm(), dropout=c.dropout),
            ffn=Residual(MixtureOfExperts(router, experts, jitter=c.router_jitter), pre_norm=norm(), dropout=c.dropout),
        )

    model = decoder_model(
        c,
        Embeddings(c.vocab_size, c.d_model, dropout=c.dropout),
        Stack([block() for _ in range(c.n_layers)], norm()),
        head_dropout=c.head_dropout,
        rotary=Rotary(c.head_dim, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len),
        window=c.window,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: MixtralConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Rename, StackExperts, under

    layer, mixture = "layers.{i}.block_sparse_moe.", "stack.blocks.{i}.ffn.body."
    each, all_at_once = layer + "experts.{e}.", "layers.{i}.mlp."
    base: list[Rule | Ignore] = [
        *llama_names.base_rules(c),
        Rename(layer + "gate", mixture + "router.linear"),
        StackExperts(each, mixture + "experts.gate_up", n_experts=c.n_experts, parts=("w1", "w3")),
        StackExperts(each, mixture + "experts.down", n_experts=c.n_experts, parts=("w2",)),
        # transformers 5 holds them stacked as we do, and can be told to save them so.
        Alias(all_at_once + "gate", mixture + "router.linear"),
        Alias(all_at_once + "experts.gate_up_proj", mixture + "experts.gate_up"),
        Alias(all_at_once + "experts.down_proj", mixture + "experts.down"),
    ]
    return [*under("model.", base, write=c.head != "backbone"), *decoder_head_rules(c)]


FAMILY = Family(
    name="mixtral",
    kind=Kind.DECODER,
    title="Mixtral",
    paper="Jiang et al. 2024, arXiv:2401.04088",
    peculiar="Mistral with a sparse mixture of experts in place of each feed-forward layer",
    objective="next token",
    positions="rotary",
    sizing=Sizing(has_gate=True),
    config_class=MixtralConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=llama_names.FIXED,
    token_ids={"bos_token_id": 1, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
