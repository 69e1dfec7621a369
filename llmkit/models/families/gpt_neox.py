"""GPT-NeoX (Black et al. 2022, arXiv:2204.06745), also Pythia (Biderman et al. 2023, arXiv:2304.01373) and Dolly 2.

Peculiar: attention and feed-forward layer side by side on the same input, each with a norm of its own, their sum added
once ("parallel residual", with the usual sequence as an option); rotary positions on the first part of each head only;
a checkpoint layout that keeps query, key and value of one head together; an output layer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.config import setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.rope import RotaryConfig, rope_table, rope_to_hf

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "GPTNeoXForCausalLM",
    "classification": "GPTNeoXForSequenceClassification",
    "token_classification": "GPTNeoXForTokenClassification",
    "span": "GPTNeoXForQuestionAnswering",
    "backbone": "GPTNeoXModel",
}


@dataclass(frozen=True, kw_only=True)
class GptNeoXConfig(RotaryConfig):
    """Sizes of a GPT-NeoX, and how its branches are joined."""

    max_seq_len: int = setting(2048, low=1, high=2**24, help="longest sequence, in tokens")
    tie_embeddings: bool = setting(False, help="the output layer shares the embedding matrix")
    parallel_residual: bool = setting(True, help="attention and feed-forward layer read the same input")
    rotary_share: float = setting(0.25, low=0.0, high=1.0, help="share of each head that rotary positions turn")
    attention_bias: bool = setting(True, help="biases in the attention projections")
    classifier_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout before the token classifier")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    @property
    def rotary_width(self) -> int:
        return int(self.head_dim * self.rotary_share)


KEYS = {
    "vocab_size": Key("vocab_size", 50432),
    "d_model": Key("hidden_size", 6144),
    "n_layers": Key("num_hidden_layers", 44),
    "n_heads": Key("num_attention_heads", 64),
    "d_ff": Key("intermediate_size", 24576),
    "max_seq_len": Key("max_position_embeddings", 2048),
    "activation": Key("hidden_act", "gelu"),
    "norm_eps": Key("layer_norm_eps", 1e-5),
    "dropout": Key("hidden_dropout", 0.0),
    "attention_dropout": Key("attention_dropout", 0.0),
    "classifier_dropout": Key("classifier_dropout", 0.1),
    "parallel_residual": Key("use_parallel_residual", True),
    "attention_bias": Key("attention_bias", True),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", False),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    width = r.whole("hidden_size", default=6144) // r.whole("num_attention_heads", default=64)
    r.refuse("head_dim", width, because="only rotary positions would heed it")
    table = rope_table(r)
    # Files from before transformers 5 keep these beside the table, under names of the family's own.
    settings = HfConfig({"rope_theta": r.raw.get("rotary_emb_base")} | table, r.title)
    share = r.number("rotary_pct", default=0.25)
    share = HfConfig(table, r.title).number("partial_rotary_factor", default=share)
    if table.get("rope_type", table.get("type")) == "proportional":
        # Here the share says which pairs of a whole head turn.
        table["partial_rotary_factor"], share = share, 1.0
    return {
        "rope_theta": settings.number("rope_theta", default=10000.0),
        "rope_scaling": table,
        "rotary_share": share,
    }


def more_to_hf(c: GptNeoXConfig) -> dict[str, object]:
    return rope_to_hf(c, partial_rotary_factor=c.rotary_share)


def build(c: GptNeoXConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.positions import PartialRotary, Rotary
    from llmkit.nn.wiring import Block, Normed, Parallel, Residual, Stack

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, bias=c.attention_bias, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.activation])
        if c.parallel_residual:
            both = Parallel(
                attn=Normed(norm(), attention, dropout=c.dropout), ffn=Normed(norm(), feed_forward, dropout=c.dropout)
            )
            return Block(both=Residual(both))
        return Block(
            attn=Residual(attention, pre_norm=norm(), dropout=c.dropout),
            ffn=Residual(feed_forward, pre_norm=norm(), dropout=c.dropout),
        )

    rotary = Rotary if c.rotary_width == c.head_dim else PartialRotary
    model = decoder_model(
        c,
        Embeddings(c.vocab_size, c.d_model, dropout=c.dropout),
        Stack([block() for _ in range(c.n_layers)], norm()),
        head_dropout=c.classifier_dropout,
        rotary=rotary(c.rotary_width, theta=c.rope_theta, scaling=c.rope_scaling, max_seq_len=c.max_seq_len),
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: GptNeoXConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Ignore, Regroup, Rename, under

    block = "stack.blocks.{i}."
    attn, ffn, norm = (
        ("both.body.attn", "both.body.ffn", "norm") if c.parallel_residual else ("attn", "ffn", "pre_norm")
    )
    base: list[Rule | Ignore] = [
        Rename("embed_in", "embeddings.token"),
        Rename("layers.{i}.input_layernorm", f"{block}{attn}.{norm}"),
        Regroup(
            "layers.{i}.attention.query_key_value",
            f"{block}{attn}.body.qkv",
            groups=c.n_heads,
            parts=(c.head_dim, c.head_dim, c.head_dim),
        ),
        Rename("layers.{i}.attention.dense", f"{block}{attn}.body.out"),
        Rename("layers.{i}.post_attention_layernorm", f"{block}{ffn}.{norm}"),
        Rename("layers.{i}.mlp.dense_h_to_4h", f"{block}{ffn}.body.up"),
        Rename("layers.{i}.mlp.dense_4h_to_h", f"{block}{ffn}.body.down"),
        Rename("final_layer_norm", "stack.norm"),
        Ignore("layers.{i}.attention.bias"),  # the causal mask, stored by old versions
        Ignore("layers.{i}.attention.masked_bias"),
        Ignore("layers.{i}.attention.rotary_emb.inv_freq"),
    ]
    head = decoder_head_rules(c, words="embed_out", token_labels="classifier")
    if c.head == "causal_lm":
        # transformers 5 calls it so in memory, though not in the files it writes.
        head.append(Alias("lm_head.weight", "embeddings.token.weight" if c.tie_embeddings else "head.decoder.weight"))
    return [*under("gpt_neox.", base, write=c.head != "backbone"), *head]


FAMILY = Family(
    name="gpt_neox",
    kind=Kind.DECODER,
    title="GPT-NeoX",
    paper="Black et al. 2022, arXiv:2204.06745",
    peculiar="attention and feed-forward layer side by side, partly rotary positions",
    objective="next token",
    positions="rotary",
    config_class=GptNeoXConfig,
    heads=HEADS,
    keys=KEYS,
    token_ids={"bos_token_id": 0, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
