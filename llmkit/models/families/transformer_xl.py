"""Transformer-XL (Dai et al. 2019, arXiv:1901.02860): a decoder that remembers the segments it has read.

Peculiar: every layer also attends to what it read in earlier segments, so distances take the place of positions, with
two learned biases beside the query; norms after each residual sum. The output layer is a plain one: the paper's
adaptive softmax saves time only with word vocabularies of hundreds of thousands. transformers has no such model any
more, so config.json and tensors follow a dialect of our own, close to its former one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.config import ACTIVATIONS, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, Key
from llmkit.models.relative_names import RelativeConfig
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.relative_shells import RecurrentDecoder
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "TransformerXLLMHeadModel",
    "classification": "TransformerXLForSequenceClassification",
    "backbone": "TransformerXLModel",
}


@dataclass(frozen=True, kw_only=True)
class TransformerXlConfig(RelativeConfig):
    """Sizes of a Transformer-XL; defaults are those of the paper's base model."""

    max_seq_len: int = setting(2048, low=1, high=2**24, help="longest text read at once, in tokens; nothing limits it")
    mem_len: int = setting(150, low=1, high=2**24, help="tokens of earlier segments that each layer remembers")
    same_length: bool = setting(False, help="every token sees mem_len tokens, itself included, wherever it stands")
    share_biases: bool = setting(False, help="all layers share the biases beside the query")
    activation: str = setting("relu", choices=ACTIVATIONS, help="activation of the feed-forward layer")
    init_std: float = setting(0.02, low=0.0, high=1.0, help="standard deviation of fresh weights")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)
    FREE: ClassVar[tuple[str, ...]] = ("head_dim",)


KEYS = {
    "vocab_size": Key("vocab_size"),
    "d_model": Key("d_model", 410),
    "n_layers": Key("n_layer", 16),
    "n_heads": Key("n_head", 10),
    "head_dim": Key("d_head", 0),
    "d_ff": Key("d_inner", 2100),
    "max_seq_len": Key("max_seq_len", 2048),
    "mem_len": Key("mem_len", 150),
    "same_length": Key("same_length", False),
    "clamp_len": Key("clamp_len", 0),
    "share_biases": Key("share_biases", False),
    "activation": Key("activation_function", "relu"),
    "norm_eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("dropout", 0.1),
    "attention_dropout": Key("dropatt", 0.0),
    "init_std": Key("init_std", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def build(c: TransformerXlConfig) -> RecurrentDecoder:
    from llmkit.models.relative_shells import RecurrentDecoder
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.embeddings import Embeddings, Scale
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, LastToken, LMHead, every_token
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.relative_attention import DistanceSinusoids, RelativeAttention
    from llmkit.nn.wiring import Block, Residual, Stack

    def attention(biases: Any = None) -> RelativeAttention:
        return RelativeAttention(c.d_model, c.n_heads, head_dim=c.head_dim, biases=biases, dropout=c.attention_dropout)

    def block(attention: RelativeAttention) -> Block:
        feed_forward = FeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation], dropout=c.dropout)
        return Block(
            attn=Residual(attention, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout),
            ffn=Residual(feed_forward, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout),
        )

    first = attention()
    shared = (first.content_bias, first.position_bias) if c.share_biases else None
    embeddings = Embeddings(c.vocab_size, c.d_model, token_project=Scale(c.d_model**0.5), dropout=c.dropout)
    tied = embeddings.token.weight if c.tie_embeddings else None
    heads = {
        "causal_lm": lambda: LMHead(c.d_model, c.vocab_size, tied=tied, bias=True),
        "classification": lambda: Decision(c.d_model, len(c.labels), bias=False),
        "backbone": lambda: None,
    }
    model = RecurrentDecoder(
        c,
        embeddings,
        Stack([block(first), *(block(attention(shared)) for _ in range(c.n_layers - 1))]),
        heads[c.head](),
        select=LastToken(c.pad_id) if c.head == "classification" else every_token,
        distances=DistanceSinusoids(c.d_model, clamp=c.clamp_len, dropout=c.dropout),
        mem_len=c.mem_len,
        window=c.mem_len if c.same_length else None,
        dropout=c.dropout,
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: TransformerXlConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, JoinRows, Rename, under

    ours, theirs, width = "stack.blocks.{i}.", "layers.{i}.", c.n_heads * c.head_dim
    shared = "stack.blocks.0.attn.body."
    biases: list[Rule | Ignore] = [
        Rename(theirs + "attn.content_bias", ours + "attn.body.content_bias"),
        Rename(theirs + "attn.position_bias", ours + "attn.body.position_bias"),
    ]
    if c.share_biases:
        biases = [Rename(name, shared + name) for name in ("content_bias", "position_bias")]
    base: list[Rule | Ignore] = [
        Rename("word_emb", "embeddings.token"),
        *biases,
        Rename(theirs + "attn.q", ours + "attn.body.q"),
        JoinRows(theirs + "attn.", ours + "attn.body.kv", parts=("k", "v"), rows=(width, width)),
        Rename(theirs + "attn.r", ours + "attn.body.distance"),
        Rename(theirs + "attn.o", ours + "attn.body.out"),
        Rename(theirs + "attn.layer_norm", ours + "attn.post_norm"),
        Rename(theirs + "ff.up", ours + "ffn.body.up"),
        Rename(theirs + "ff.down", ours + "ffn.body.down"),
        Rename(theirs + "ff.layer_norm", ours + "ffn.post_norm"),
    ]
    tied = Alias("lm_head.weight", "embeddings.token.weight")
    words: list[Rule | Ignore] = [Rename("lm_head.bias", "head.decoder.bias"), tied]
    heads: dict[str, list[Rule | Ignore]] = {
        "causal_lm": words if c.tie_embeddings else [Rename("lm_head", "head.decoder")],
        "classification": [Rename("score", "head.linear")],
        "backbone": [],
    }
    return [*under("transformer.", base, write=c.head != "backbone"), *heads[c.head]]


FAMILY = Family(
    name="transformer_xl",
    model_type="transformer-xl",
    kind=Kind.DECODER,
    title="Transformer-XL",
    paper="Dai et al. 2019, arXiv:1901.02860",
    peculiar="post-norm decoder with relative positions and a memory of earlier segments",
    objective="next token",
    positions="relative",
    sizing=Sizing(norm_after=True, extra_attention=1),
    config_class=TransformerXlConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=(
        Fixed("pre_lnorm", False, because="the paper's norms come after each sum"),
        Fixed("adaptive", False, because="the output layer is a plain one"),
        Fixed("div_val", 1, because="all tokens have vectors of the same width"),
        Fixed("ext_len", 0, because="a segment is read once"),
    ),
    build=build,
    weight_rules=weight_rules,
)
