"""XLNet (Yang et al. 2019, arXiv:1906.08237): guesses words from any part of their text, in a random order.

Peculiar: two streams through the same layers, the words and the places where words are guessed; masks that follow a
permutation; distances instead of positions, and "same segment or another" instead of segment embeddings, both with
learned biases beside the query; a memory of earlier segments (Transformer-XL); norms after each residual sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.config import ACTIVATIONS, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, HfConfig, Key
from llmkit.models.relative_names import RelativeConfig
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.relative_shells import TwoStreamModel
    from llmkit.nn.heads import Decision
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "permutation_lm": "XLNetLMHeadModel",
    "classification": "XLNetForSequenceClassification",
    "token_classification": "XLNetForTokenClassification",
    "span": "XLNetForQuestionAnsweringSimple",
    "backbone": "XLNetModel",
}
PLACES = ("first", "last", "mean", "cls_index")


@dataclass(frozen=True, kw_only=True)
class XlnetConfig(RelativeConfig):
    """Sizes of an XLNet; defaults are the published models' rates."""

    norm_eps: float = setting(1e-12, low=0.0, high=1.0, help="added to the variance inside norms")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    attention: str = setting("bi", choices=("bi", "uni"), help="bi: both ways; uni: left to right")
    reuse_len: int = setting(0, low=0, high=2**24, help="first tokens of a segment that a memory takes in; 0: all")
    two_directions: bool = setting(False, help="the second half of every batch is read backwards")
    summary: str = setting("last", choices=PLACES, help="which hidden state stands for a whole text")
    summary_layer: bool = setting(True, help="a dense layer between that state and the classifier")
    summary_activation: str = setting("tanh", choices=("", *ACTIVATIONS), help="its activation; empty: none")
    summary_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout before that layer")
    classifier_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout before the classifier of texts")
    head: str = setting("permutation_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


KEYS = {
    "vocab_size": Key("vocab_size", 32000, also=("n_token",)),
    "d_model": Key("d_model", 1024, also=("hidden_size",)),
    "n_layers": Key("n_layer", 24, also=("num_hidden_layers",)),
    "n_heads": Key("n_head", 16, also=("num_attention_heads",)),
    "head_dim": Key("d_head", 0),
    "d_ff": Key("d_inner", 4096),
    "max_seq_len": Key("max_seq_len", 512),  # ours: transformers has no such key
    "activation": Key("ff_activation", "gelu"),
    "norm_eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("dropout", 0.1),
    "attention": Key("attn_type", "bi"),
    "same_length": Key("same_length", False),
    "two_directions": Key("bi_data", False),
    "summary": Key("summary_type", "last"),
    "summary_layer": Key("summary_use_proj", True),
    "summary_activation": Key("summary_activation", "tanh"),
    "summary_dropout": Key("summary_first_dropout", 0.0),
    "classifier_dropout": Key("summary_last_dropout", 0.1),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    return {
        # A stored null means all of it, an absent key 512.
        "mem_len": r.whole("mem_len", default=0 if "mem_len" in r.raw else 512),
        "reuse_len": max(0, r.whole("reuse_len", default=0)),
        "clamp_len": max(0, r.whole("clamp_len", default=-1)),
        # transformers has one rate for everything.
        "attention_dropout": r.number("attention_dropout", "dropout", default=0.1),
    }


def more_to_hf(c: XlnetConfig) -> dict[str, object]:
    lengths = {"mem_len": c.mem_len, "reuse_len": c.reuse_len, "clamp_len": c.clamp_len or -1}
    return lengths | ({} if c.attention_dropout == c.dropout else {"attention_dropout": c.attention_dropout})


def build(c: XlnetConfig) -> TwoStreamModel:
    from torch import nn

    from llmkit.models.relative_shells import TwoStreamModel
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.activations import linear
    from llmkit.nn.embeddings import Embeddings
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, HiddenLayer, LMHead, every_token
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.relative_attention import DistanceSinusoids, SegmentRelativeAttention
    from llmkit.nn.summaries import SUMMARIES
    from llmkit.nn.wiring import Block, Residual, Stack

    def residual(body: nn.Module) -> Residual:
        return Residual(body, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout)

    def block() -> Block:
        feed_forward = FeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation], dropout=c.dropout)
        attention = SegmentRelativeAttention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(attn=residual(attention), ffn=residual(feed_forward))

    def decision() -> Decision:
        act = FUNCTIONS.get(c.summary_activation, linear)
        layer = HiddenLayer(c.d_model, act, dropout=c.summary_dropout)
        if not c.summary_layer:
            layer.add_module("dense", nn.Identity())
        return Decision(c.d_model, len(c.labels), pool=layer, dropout=c.classifier_dropout)

    embeddings = Embeddings(c.vocab_size, c.d_model, dropout=c.dropout)
    tied = embeddings.token.weight if c.tie_embeddings else None
    heads = {
        "permutation_lm": lambda: LMHead(c.d_model, c.vocab_size, tied=tied, bias=True),
        "classification": decision,
        "token_classification": lambda: Decision(c.d_model, len(c.labels)),
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
    }
    model = TwoStreamModel(
        c,
        embeddings,
        Stack([block() for _ in range(c.n_layers)]),
        heads[c.head](),
        select=SUMMARIES[c.summary] if c.head == "classification" else every_token,
        distances=DistanceSinusoids(c.d_model, clamp=c.clamp_len, mirrored=c.two_directions, dropout=c.dropout),
        mem_len=c.mem_len,
        reuse_len=c.reuse_len,
        same_length=c.same_length,
        dropout=c.dropout,
        is_causal=c.attention == "uni",
    )
    init_normal(model, c.init_std)
    return model


def weight_rules(c: XlnetConfig) -> list[Rule | Ignore]:
    from llmkit.weights.head_rules import JoinHeads
    from llmkit.weights.rules import Alias, Rename, Reshape, under

    theirs, ours = "layer.{i}.", "stack.blocks.{i}."
    attn, body, width = theirs + "rel_attn.", ours + "attn.body.", c.n_heads * c.head_dim
    cube, flat = (c.d_model, c.n_heads, c.head_dim), (c.d_model, width)
    base: list[Rule | Ignore] = [
        Rename("word_embedding", "embeddings.token"),
        Reshape("mask_emb", "mask_embedding", their_shape=(1, 1, c.d_model), our_shape=(c.d_model,)),
        JoinHeads(attn + "q", body + "q.weight", heads=c.n_heads),
        JoinHeads(attn, body + "kv.weight", parts=("k", "v"), heads=c.n_heads),
        JoinHeads(attn + "r", body + "distance.weight", heads=c.n_heads),
        Reshape(attn + "o", body + "out.weight", their_shape=cube, our_shape=flat),
        Rename(attn + "r_w_bias", body + "content_bias"),
        Rename(attn + "r_r_bias", body + "position_bias"),
        Rename(attn + "r_s_bias", body + "segment_bias"),
        Rename(attn + "seg_embed", body + "segments"),
        Rename(attn + "layer_norm", ours + "attn.post_norm"),
        Rename(theirs + "ff.layer_1", ours + "ffn.body.up"),
        Rename(theirs + "ff.layer_2", ours + "ffn.body.down"),
        Rename(theirs + "ff.layer_norm", ours + "ffn.post_norm"),
    ]
    tied = Alias("lm_loss.weight", "embeddings.token.weight")
    words: list[Rule | Ignore] = [Rename("lm_loss.bias", "head.decoder.bias"), tied]
    heads: dict[str, list[Rule | Ignore]] = {
        "permutation_lm": words if c.tie_embeddings else [Rename("lm_loss", "head.decoder")],
        "classification": [Rename("sequence_summary.summary", "head.pool.dense"), Rename("logits_proj", "head.linear")],
        "token_classification": [Rename("classifier", "head.linear")],
        "span": [Rename("qa_outputs", "head.linear")],
        "backbone": [],
    }
    return [*under("transformer.", base, write=c.head != "backbone"), *heads[c.head]]


FAMILY = Family(
    name="xlnet",
    kind=Kind.ENCODER,
    title="XLNet",
    paper="Yang et al. 2019, arXiv:1906.08237",
    peculiar="post-norm encoder with two streams, relative positions and a memory of earlier segments",
    objective="permuted tokens",
    positions="relative",
    sizing=Sizing(norm_after=True, extra_attention=1, has_transform=False),
    config_class=XlnetConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=(Fixed("summary_proj_to_labels", False, because="it would make the summary as narrow as the class scores"),),
    token_ids={"pad_token_id": 5, "bos_token_id": 1, "eos_token_id": 2},
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
