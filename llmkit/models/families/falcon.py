"""Falcon 7B, 40B and RW (Almazrouei et al. 2023, arXiv:2311.16867; Penedo et al. 2023, arXiv:2306.01116).

Peculiar: attention and feed-forward layer side by side on one input, under one norm (7B) or two (40B); query heads that
share one key and value head (7B) or a few (40B); no biases. RW is plainer, with biases and ALiBi for positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import InputRefused, UsageError
from llmkit.models.config import setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.rope import RotaryConfig, rope_from_hf, rope_to_hf

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "FalconForCausalLM",
    "classification": "FalconForSequenceClassification",
    "token_classification": "FalconForTokenClassification",
    "span": "FalconForQuestionAnswering",
    "backbone": "FalconModel",
}


WIRINGS = ("one norm", "two norms", "sequence")


@dataclass(frozen=True, kw_only=True)
class FalconConfig(RotaryConfig):
    """Sizes of a Falcon; defaults wire the 7B."""

    n_kv_heads: int = setting(1, low=0, high=1024, help="heads of keys and values; 0: as many as n_heads")
    max_seq_len: int = setting(2048, low=1, high=2**24, help="longest sequence, in tokens")
    grouped: bool = setting(False, help="stored as groups of queries around a key (40B), even if it is one, or all")
    wiring: str = setting("one norm", choices=WIRINGS, help="parallel branches under one norm or two, or in sequence")
    bias: bool = setting(False, help="biases in all projections")
    alibi: bool = setting(False, help="positions as a slope on the scores instead of rotary ones")
    classifier_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout before the token classifier")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)
    FREE: ClassVar[tuple[str, ...]] = ("n_kv_heads",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.wiring == "two norms" or self.n_kv_heads not in (1, self.n_heads):
            object.__setattr__(self, "grouped", True)
        if self.wiring == "sequence" and self.grouped:
            raise UsageError(f"n_kv_heads is {self.n_kv_heads}; with wiring 'sequence' it must be 1 or {self.n_heads}")

    @property
    def rotary_width(self) -> int:
        # With ALiBi nothing is turned, but transformers refuses to open wide odd heads all the same.
        return 0 if self.alibi and self.head_dim <= 4 else self.head_dim


KEYS = {
    "vocab_size": Key("vocab_size", 65024),
    "d_model": Key("hidden_size", 4544),
    "n_layers": Key("num_hidden_layers", 32),
    "n_heads": Key("num_attention_heads", 71),
    "n_kv_heads": Key("num_kv_heads", 0),
    "d_ff": Key("ffn_hidden_size", 0),
    "max_seq_len": Key("max_position_embeddings", 2048),
    "activation": Key("activation", "gelu"),
    "norm_eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("hidden_dropout", 0.0),
    "attention_dropout": Key("attention_dropout", 0.0),
    "classifier_dropout": Key("classifier_dropout", None),
    "bias": Key("bias", False),
    "alibi": Key("alibi", False),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    n_heads, is_new = r.read(KEYS["n_heads"], "int"), r.flag("new_decoder_architecture", default=False)
    parallel = r.read(Key("parallel_attn", True, null=False), "bool")
    n_norms = r.whole("num_ln_in_parallel_attn", default=2 if is_new else 1)
    shares_one_key = r.read(Key("multi_query", True, null=False), "bool") and not is_new
    n_kv_heads = 1 if shares_one_key else r.whole("num_kv_heads", default=n_heads)
    if is_new and not parallel:
        raise InputRefused("config.json: 'new_decoder_architecture' without 'parallel_attn' is no Falcon")
    if parallel and n_norms not in ((1, 2) if is_new else (1,)):
        raise r.wrong("num_ln_in_parallel_attn", n_norms, "1, or 2 where 'new_decoder_architecture' is true")
    if not is_new and not shares_one_key and n_kv_heads != n_heads:
        raise r.wrong("num_kv_heads", n_kv_heads, f"{n_heads}, or 'new_decoder_architecture' must be true")
    return ({} if r.flag("alibi", default=False) else rope_from_hf(r)) | {
        "d_model": r.whole("n_embed", "hidden_size", default=4544),  # the old name wins in transformers too
        "n_kv_heads": n_kv_heads,
        "wiring": WIRINGS[n_norms - 1] if parallel else "sequence",
        "grouped": is_new,
    }


def more_to_hf(c: FalconConfig) -> dict[str, object]:
    return rope_to_hf(c) | {
        "multi_query": c.n_kv_heads == 1,
        "parallel_attn": c.wiring != "sequence",
        "new_decoder_architecture": c.grouped,
        "num_ln_in_parallel_attn": 2 if c.wiring == "two norms" else 1,
    }


def build(c: FalconConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, counted, counted_by_mask
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.positions import Rotary
    from llmkit.nn.score_bias import CoarseAlibi
    from llmkit.nn.wiring import Block, Normed, Parallel, Residual, Stack

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, n_kv_heads=c.n_kv_heads, bias=c.bias, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.activation], bias=c.bias)
        if c.wiring == "sequence":
            # The first rate is not `dropout`: so RW was trained.
            attn = Residual(attention, pre_norm=norm(), dropout=c.attention_dropout)
            return Block(attn=attn, ffn=Residual(feed_forward, pre_norm=norm(), dropout=c.dropout))
        if c.wiring == "two norms":
            both = Parallel(attn=Normed(norm(), attention), ffn=Normed(norm(), feed_forward))
            return Block(both=Residual(both, dropout=c.dropout))
        both = Parallel(attn=attention, ffn=feed_forward)
        return Block(both=Residual(both, pre_norm=norm(), dropout=c.dropout))

    rotary = Rotary(c.head_dim, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len)
    model = decoder_model(
        c,
        Embeddings(c.vocab_size, c.d_model, places=counted_by_mask if c.alibi else counted),
        Stack([block() for _ in range(c.n_layers)], norm()),
        head_dropout=c.dropout if c.classifier_dropout is None else c.classifier_dropout,
        rotary=None if c.alibi else rotary,
        score_bias=CoarseAlibi(c.n_heads, scale=c.head_dim**-0.5) if c.alibi else None,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: FalconConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Regroup, Rename, under

    block, width = "stack.blocks.{i}.", c.head_dim
    attn, ffn = {
        "one norm": (f"{block}both.body.attn", f"{block}both.body.ffn"),
        "two norms": (f"{block}both.body.attn.body", f"{block}both.body.ffn.body"),
        "sequence": (f"{block}attn.body", f"{block}ffn.body"),
    }[c.wiring]
    base: list[Rule | Ignore] = [
        Rename("word_embeddings", "embeddings.token"),
        Rename("h.{i}.input_layernorm", f"{block}{'attn' if c.wiring == 'sequence' else 'both'}.pre_norm"),
        Rename("h.{i}.post_attention_layernorm", f"{block}ffn.pre_norm"),
        Rename("h.{i}.ln_attn", f"{block}both.body.attn.norm"),
        Rename("h.{i}.ln_mlp", f"{block}both.body.ffn.norm"),
        # Each key head's queries, its key, its value; with one key head or one query per key it is the same rule.
        Regroup(
            "h.{i}.self_attention.query_key_value",
            f"{attn}.qkv",
            groups=c.n_kv_heads,
            parts=(c.n_heads // c.n_kv_heads * width, width, width),
        ),
        Rename("h.{i}.self_attention.dense", f"{attn}.out"),
        Rename("h.{i}.mlp.dense_h_to_4h", f"{ffn}.up"),
        Rename("h.{i}.mlp.dense_4h_to_h", f"{ffn}.down"),
        Rename("ln_f", "stack.norm"),
    ]
    return [*under("transformer.", base, write=c.head != "backbone"), *decoder_head_rules(c, token_labels="classifier")]


FAMILY = Family(
    name="falcon",
    kind=Kind.DECODER,
    title="Falcon",
    paper="Almazrouei et al. 2023, arXiv:2311.16867",
    peculiar="attention and feed-forward layer side by side, one key head or few",
    objective="next token",
    positions="rotary or ALiBi",
    config_class=FalconConfig,
    heads=HEADS,
    keys=KEYS,
    token_ids={"bos_token_id": 11, "eos_token_id": 11},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
