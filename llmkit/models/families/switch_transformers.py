"""Switch Transformer (Fedus et al. 2021, arXiv:2101.03961): T5 with experts in place of every few feed-forward layers.

Peculiar: a router sends each token to one expert and scales what it says by the router's probability; an expert takes
only so many tokens of a text, in their order, and those that find no room go on as they are. Routers compute in float32
and see jittered inputs in training; two further losses (nn/balance.py) keep experts busy alike and scores small. The
rest is T5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models import t5_names
from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing
from llmkit.models.t5_names import ENCODER_ONLY, FIXED, TOKEN_IDS, T5LikeConfig, table_rules, tower_rules, unread

if TYPE_CHECKING:
    from torch import nn

    from llmkit.models.shells import EncoderModel
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "seq2seq": "SwitchTransformersForConditionalGeneration",
    "backbone": "SwitchTransformersModel",
    "encoder": "SwitchTransformersEncoderModel",
}


@dataclass(frozen=True, kw_only=True)
class SwitchConfig(T5LikeConfig):
    """Sizes of a Switch Transformer. Of every `sparse_step` blocks, the second has experts (1: all have; 0: none)."""

    sparse_step: int = setting(2, low=0, high=1024, help="every how many encoder blocks one has experts; 0: none")
    decoder_sparse_step: int = setting(2, low=0, high=1024, help="every how many decoder blocks one has; 0: none")
    n_experts: int = setting(8, low=1, high=4096, help="feed-forward layers to choose from")
    capacity: int = setting(64, low=0, high=2**24, help="tokens of one text that an expert takes")
    router_bias: bool = setting(False, help="biases in the routers")
    router_dtype: str = setting("float32", choices=("float32", "float16", "bfloat16"), help="precision of the routers")
    router_jitter: float = setting(0.01, low=0.0, high=1.0, help="noise on what routers see, in training")
    balance_weight: float = setting(
        0.001, low=0.0, high=1e3, help="weight of the loss for equally busy experts; kept for transformers"
    )
    z_weight: float = setting(0.001, low=0.0, high=1e3, help="weight of the loss that keeps routers' scores small")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    @property
    def experts_per_token(self) -> int:
        return 1

    def is_sparse(self, tower: str, layer: int) -> bool:
        """Whether a block of the "encoder" or "decoder" has experts."""
        step = self.sparse_step if tower == "encoder" else self.decoder_sparse_step
        return step == 1 or (step > 1 and layer % step == 1)


KEYS = t5_names.KEYS | {
    "d_model": Key("d_model", 768, also=("hidden_size",)),
    "n_layers": Key("num_layers", 12, also=("num_hidden_layers",)),
    "n_decoder_layers": Key("num_decoder_layers", 12, null=0),
    "n_heads": Key("num_heads", 12, also=("num_attention_heads",)),
    "activation": Key("dense_act_fn", "relu"),
    "n_experts": Key("num_experts", 8),
    "capacity": Key("expert_capacity", 64),
    "router_bias": Key("router_bias", False),
    "router_dtype": Key("router_dtype", "float32"),
    "router_jitter": Key("router_jitter_noise", 0.01),
    "balance_weight": Key("router_aux_loss_coef", 0.001, kept=True),
    "z_weight": Key("router_z_loss_coef", 0.001, kept=True),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    def step(tower: str, blocks: int) -> int:
        """The one stored, or what transformers makes of the number of blocks with experts."""
        sparse = r.whole(f"num_sparse_{tower}_layers", default=3)
        return int(r.whole(f"{tower}_sparse_step", default=blocks // sparse if sparse > 0 else blocks))

    encoder = r.read(KEYS["n_layers"], "int")
    return {
        "sparse_step": step("encoder", encoder),
        "decoder_sparse_step": step("decoder", r.read(KEYS["n_decoder_layers"], "int") or encoder),
    } | t5_names.attention_dropout_from_hf(r)


def more_to_hf(c: SwitchConfig) -> dict[str, object]:
    return {
        "encoder_sparse_step": c.sparse_step,
        "decoder_sparse_step": c.decoder_sparse_step,
        "num_sparse_encoder_layers": sum(c.is_sparse("encoder", i) for i in range(c.n_layers)),
        "num_sparse_decoder_layers": sum(c.is_sparse("decoder", i) for i in range(c.n_decoder_layers)),
    } | t5_names.attention_dropout_to_hf(c)


def build(c: SwitchConfig) -> EncoderDecoderModel | EncoderModel:
    import torch

    from llmkit.models.t5_towers import t5_model
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.fan_in import init_fan_in
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.moe import CapacityRouter, Experts, MixtureOfExperts

    act = ACTIVATIONS[c.activation]

    def feed_forward(tower: str, layer: int) -> nn.Module:
        if not c.is_sparse(tower, layer):
            return FeedForward(c.d_model, c.d_ff, act, bias=False, dropout=c.dropout)
        router = CapacityRouter(
            c.d_model,
            c.n_experts,
            capacity=c.capacity,
            bias=c.router_bias,
            jitter=c.router_jitter,
            dtype=getattr(torch, c.router_dtype),
        )
        return MixtureOfExperts(router, Experts(c.d_model, c.d_ff, act, n_experts=c.n_experts, dropout=c.dropout))

    model = t5_model(c, feed_forward, share_embeddings=c.tie_embeddings)
    init_fan_in(model, c.init_std, d_model=c.d_model)
    return model


def weight_rules(c: SwitchConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Rename, StackExperts

    def tower(theirs: str, ours: str) -> list[Rule | Ignore]:
        layer = theirs + ("block.{i}.layer.2.mlp." if theirs == "decoder." else "block.{i}.layer.1.mlp.")
        expert, experts = layer + "experts.expert_{e}.", ours + "stack.blocks.{i}.ffn.body.experts."
        ffn = [("mlp.wi", "up"), ("mlp.wo", "down"), ("mlp.router.classifier", "router.linear")]
        return [
            *tower_rules(c, theirs, ours, ffn),
            StackExperts(expert, experts + "up", n_experts=c.n_experts, parts=("wi",)),
            StackExperts(expert, experts + "down", n_experts=c.n_experts, parts=("wo",)),
        ]

    encoder = "" if c.head in ENCODER_ONLY else "encoder."
    decoder = tower("decoder.", "decoder.")
    tied = Alias("lm_head.weight", "encoder.embeddings.token.weight")
    head = [tied if c.tie_embeddings else Rename("lm_head", "head.decoder")] if c.head == "seq2seq" else []
    return [
        *table_rules(shared=c.tie_embeddings, encoder=encoder),
        *tower("encoder.", encoder),
        *(decoder if encoder else unread([*decoder, Rename("lm_head", "")])),
        *head,
    ]


FAMILY = Family(
    name="switch_transformers",
    kind=Kind.ENCODER_DECODER,
    title="Switch Transformer",
    paper="Fedus et al. 2021, arXiv:2101.03961",
    peculiar="T5 with experts in place of every few feed-forward layers, one for each token, as far as there is room",
    objective="span corruption",
    positions="relative bias",
    sizing=Sizing(layer_step=2),
    config_class=SwitchConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=FIXED,
    token_ids=TOKEN_IDS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
