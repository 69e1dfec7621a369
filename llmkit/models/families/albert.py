"""ALBERT (Lan et al. 2019, arXiv:1909.11942): BERT with the weights of one block.

Peculiar: the same block is run at every depth (or one of a few, each for a stretch of layers); embeddings narrower
than the blocks, always with a projection between; beside masked words, whether two segments stand in their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.bert_names import KEYS, BertLikeConfig, embedding_rules, output_layer_rules
from llmkit.models.config import ACTIVATIONS, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "pretraining": "AlbertForPreTraining",
    "masked_lm": "AlbertForMaskedLM",
    "classification": "AlbertForSequenceClassification",
    "token_classification": "AlbertForTokenClassification",
    "span": "AlbertForQuestionAnswering",
    "backbone": "AlbertModel",
}


@dataclass(frozen=True, kw_only=True)
class AlbertConfig(BertLikeConfig):
    """Sizes of an ALBERT; defaults are the published models' (version 2: nothing is dropped but before classifiers)."""

    d_embed: int = setting(128, low=1, high=65536, help="width of the embeddings")
    activation: str = setting("gelu_new", choices=ACTIVATIONS, help="activation of feed-forward and output layer")
    dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    attention_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout of attention weights")
    classifier_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout before the classifier")
    n_groups: int = setting(1, low=1, high=1024, help="stretches of layers with weights of their own; at most n_layers")
    group_blocks: int = setting(1, low=1, high=64, help="blocks, all different, that make up one layer")
    head: str = setting("pretraining", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_groups > self.n_layers:
            object.__setattr__(self, "n_groups", self.n_layers)

    @property
    def n_stored_blocks(self) -> int:
        return self.n_groups * self.group_blocks

    @property
    def groups(self) -> list[int]:
        """Which group each layer belongs to."""
        # In floats, as everywhere that these models were trained: it decides where a layer on a boundary goes.
        return [int(layer / (self.n_layers / self.n_groups)) for layer in range(self.n_layers)]


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    groups, layers = r.whole("num_hidden_groups", default=1), r.whole("num_hidden_layers", default=12)
    if groups > layers:
        raise r.wrong("num_hidden_groups", groups, f"at most {layers}, the number of layers")
    return {}


def build(c: AlbertConfig) -> EncoderModel:
    from llmkit.models.shells import EncoderModel
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions, Segments
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, LMHead, Pooler, Transform
    from llmkit.nn.init import init_normal
    from llmkit.nn.linear import Linear
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    act = FUNCTIONS[c.activation]

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        return Block(
            attn=Residual(attention, post_norm=norm(), dropout=c.dropout),
            ffn=Residual(FeedForward(c.d_model, c.d_ff, act), post_norm=norm(), dropout=c.dropout),
        )

    embeddings = Embeddings(
        c.vocab_size,
        c.d_embed,
        added={"segment": Segments(c.n_segments, c.d_embed), "position": LearnedPositions(c.max_seq_len, c.d_embed)},
        norm=LayerNorm(c.d_embed, c.norm_eps),
        dropout=c.dropout,
        project=Linear(c.d_embed, c.d_model),
    )
    groups = [[block() for _ in range(c.group_blocks)] for _ in range(c.n_groups)]
    stack = Stack([block for group in c.groups for block in groups[group]])

    def words() -> LMHead:
        tied = embeddings.token.weight if c.tie_embeddings else None
        transform = Transform(c.d_model, act, LayerNorm(c.d_embed, c.norm_eps), d_out=c.d_embed)
        return LMHead(c.d_embed, c.vocab_size, tied=tied, bias=True, transform=transform)

    def decision(n: int) -> Decision:
        return Decision(c.d_model, n, pool=Pooler(c.d_model), dropout=c.classifier_dropout)

    heads = {
        "pretraining": lambda: EncoderModel(c, embeddings, stack, words(), pair_head=decision(2)),
        "masked_lm": lambda: EncoderModel(c, embeddings, stack, words()),
        "classification": lambda: EncoderModel(c, embeddings, stack, decision(len(c.labels))),
        "token_classification": lambda: EncoderModel(
            c, embeddings, stack, Decision(c.d_model, len(c.labels), dropout=c.classifier_dropout)
        ),
        "span": lambda: EncoderModel(c, embeddings, stack, Decision(c.d_model, 2)),
        "backbone": lambda: EncoderModel(c, embeddings, stack, pooler=Pooler(c.d_model)),
    }
    model = heads[c.head]()
    init_normal(model, c.init_std, truncated=True)
    return model


def weight_rules(c: AlbertConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, Rename, under

    # A shared block has the number of the first layer that runs it.
    base = [*embedding_rules(), Rename("encoder.embedding_hidden_mapping_in", "embeddings.project")]
    for group, inner in product(range(c.n_groups), range(c.group_blocks)):
        base += _block_rules(c, group, inner, c.groups.index(group) * c.group_blocks + inner)
    words: list[Rule | Ignore] = [
        Rename("predictions.dense", "head.transform.dense"),
        Rename("predictions.LayerNorm", "head.transform.norm"),
        *output_layer_rules(c, "predictions."),
    ]
    no_pooler: list[Rule | Ignore] = [Ignore("pooler.weight"), Ignore("pooler.bias")]
    order = "sop_classifier.classifier"
    heads: dict[str, tuple[list[Rule | Ignore], list[Rule | Ignore]]] = {
        "pretraining": ([Rename("pooler", "pair_head.pool.dense")], [*words, Rename(order, "pair_head.linear")]),
        # The published checkpoints say AlbertForMaskedLM and may still hold what decides on the order.
        "masked_lm": (no_pooler, [*words, Ignore(f"{order}.weight"), Ignore(f"{order}.bias")]),
        "classification": ([Rename("pooler", "head.pool.dense")], [Rename("classifier", "head.linear")]),
        "token_classification": (no_pooler, [Rename("classifier", "head.linear")]),
        "span": (no_pooler, [Rename("qa_outputs", "head.linear")]),
        "backbone": ([Rename("pooler", "pooler.dense")], []),
    }
    in_base, on_top = heads[c.head]
    return [*under("albert.", [*base, *in_base], write=c.head != "backbone"), *on_top]


def _block_rules(c: AlbertConfig, group: int, inner: int, number: int) -> list[Rule | Ignore]:
    from llmkit.weights.rules import JoinRows, Rename

    layer, block = f"encoder.albert_layer_groups.{group}.albert_layers.{inner}.", f"stack.blocks.{number}."
    rows, parts = (c.d_model, c.d_model, c.d_model), ("query", "key", "value")
    return [
        JoinRows(layer + "attention.", block + "attn.body.qkv", parts=parts, rows=rows),
        Rename(layer + "attention.dense", block + "attn.body.out"),
        Rename(layer + "attention.LayerNorm", block + "attn.post_norm"),
        Rename(layer + "ffn", block + "ffn.body.up"),
        Rename(layer + "ffn_output", block + "ffn.body.down"),
        Rename(layer + "full_layer_layer_norm", block + "ffn.post_norm"),
    ]


FAMILY = Family(
    name="albert",
    kind=Kind.ENCODER,
    title="ALBERT",
    paper="Lan et al. 2019, arXiv:1909.11942",
    peculiar="one block run at every depth, narrow embeddings, masked words and the order of sentences",
    objective="masked tokens, sentence order",
    positions="learned",
    sizing=Sizing(norm_after=True, layers=12),
    config_class=AlbertConfig,
    heads=HEADS,
    head_if_silent="masked_lm",
    keys=KEYS
    | {
        "vocab_size": Key("vocab_size", 30000),
        "d_embed": Key("embedding_size", 128),
        "d_model": Key("hidden_size", 4096),
        "n_heads": Key("num_attention_heads", 64),
        "n_groups": Key("num_hidden_groups", 1),
        "group_blocks": Key("inner_group_num", 1),
        "d_ff": Key("intermediate_size", 16384),
        "activation": Key("hidden_act", "gelu_new"),
        "dropout": Key("hidden_dropout_prob", 0.0),
        "attention_dropout": Key("attention_probs_dropout_prob", 0.0),
        "classifier_dropout": Key("classifier_dropout_prob", 0.1),
    },
    fixed=(Fixed("position_embedding_type", "absolute", because="it replaces the learned positions"),),
    token_ids={"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
    more_from_hf=more_from_hf,
    build=build,
    weight_rules=weight_rules,
)
