"""T5 (Raffel et al. 2020, arXiv:1910.10683): every task is text in, text out. Its v1.1 and FLAN-T5 are the same model.

Peculiar: RMSNorm before each branch and on top, no biases, positions as one learned number for each head and bucket of
distances, which all layers of a tower share, attention scores that are not scaled (queries begin smaller instead), an
output layer tied to the embedding and scaled by 1 / sqrt(d_model). v1.1: gated feed-forward, output layer of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.models.config import setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing
from llmkit.models.t5_names import (
    ENCODER_ONLY,
    FIXED,
    KEYS,
    TOKEN_IDS,
    T5LikeConfig,
    attention_dropout_from_hf,
    attention_dropout_to_hf,
    table_rules,
    tower_rules,
    unread,
)

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.models.two_towers import EncoderDecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "seq2seq": "T5ForConditionalGeneration",
    "classification": "T5ForSequenceClassification",
    "token_classification": "T5ForTokenClassification",
    "span": "T5ForQuestionAnswering",
    "backbone": "T5Model",
    "encoder": "T5EncoderModel",
}


@dataclass(frozen=True, kw_only=True)
class T5Config(T5LikeConfig):
    """Sizes of a T5. tie_embeddings: the output layer is the embedding, and scaled; both at once, as in all files."""

    gated: bool = setting(False, help="feed-forward layers have a gate (v1.1)")
    classifier_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout before a classifier")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    layer = r.text("feed_forward_proj", default="relu")
    kind, _, name = layer.rpartition("-")
    if kind not in ("", "gated"):
        raise r.wrong("feed_forward_proj", layer, "the name of an activation, or 'gated-' and one")
    usual = "gelu_new" if layer == "gated-gelu" else name
    # transformers 5 stores that it ties, whatever it was told, and whether to scale; older files that they do not tie.
    is_scaled = r.flag("scale_decoder_outputs", "tie_word_embeddings", default=True)
    if r.raw.get("scale_decoder_outputs", True) is None:
        is_scaled = False
    if is_scaled and not r.flag("tie_word_embeddings", default=True):
        raise r.wrong("scale_decoder_outputs", True, "false where tie_word_embeddings is")
    return {
        "gated": r.flag("is_gated_act", default=kind == "gated"),
        "activation": r.text("dense_act_fn", default=usual),
        "tie_embeddings": is_scaled,
    } | attention_dropout_from_hf(r)


def more_to_hf(c: T5Config) -> dict[str, object]:
    name = "gelu" if c.gated and c.activation == "gelu_new" else c.activation
    return {
        "feed_forward_proj": f"gated-{name}" if c.gated else name,
        "is_gated_act": c.gated,
        "dense_act_fn": c.activation,
        "scale_decoder_outputs": c.tie_embeddings,
    } | attention_dropout_to_hf(c)


def build(c: T5Config) -> EncoderDecoderModel | EncoderModel:
    from llmkit.models.t5_towers import t5_model
    from llmkit.nn.activations import ACTIVATIONS
    from llmkit.nn.fan_in import init_fan_in
    from llmkit.nn.feedforward import FeedForward, GatedFeedForward

    def feed_forward(tower: str, layer: int) -> FeedForward | GatedFeedForward:
        kind = GatedFeedForward if c.gated else FeedForward
        return kind(c.d_model, c.d_ff, ACTIVATIONS[c.activation], bias=False, dropout=c.dropout)

    model = t5_model(c, feed_forward, head_dropout=c.classifier_dropout)
    init_fan_in(model, c.init_std, d_model=c.d_model)
    return model


def weight_rules(c: T5Config) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, OrElse, Rename, under

    names = {"wi_0": "gate", "wi_1": "up"} if c.gated else {"wi": "up"}
    ffn = [(f"DenseReluDense.{theirs}", ours) for theirs, ours in {**names, "wo": "down"}.items()]
    encoder = "" if c.head in ENCODER_ONLY else "encoder."
    decoder = tower_rules(c, "decoder.", "decoder.", ffn)
    base: list[Rule | Ignore] = [
        *table_rules(shared=True, encoder=encoder),
        *tower_rules(c, "encoder.", encoder, ffn),
        *(decoder if encoder else unread([*decoder, Rename("lm_head", "")])),
    ]
    tied = Alias("lm_head.weight", "encoder.embeddings.token.weight")
    # Files without one mean a copy of the embedding: transformers 5 ties whatever the file does not keep apart.
    own = OrElse("lm_head.weight", "head.decoder.weight", otherwise="shared.weight")
    heads: dict[str, list[Rule | Ignore]] = {
        "seq2seq": [tied if c.tie_embeddings else own],
        "classification": [
            Rename("classification_head.dense", "head.pool.1"),
            Rename("classification_head.out_proj", "head.linear"),
        ],
        "token_classification": [Rename("classifier", "head.linear")],
        "span": [Rename("qa_outputs", "head.linear")],
        "backbone": [],
        "encoder": [],
    }
    is_wrapped = c.head in ("classification", "token_classification")
    return [*under("transformer.", base, write=is_wrapped), *heads[c.head]]


FAMILY = Family(
    name="t5",
    kind=Kind.ENCODER_DECODER,
    title="T5",
    paper="Raffel et al. 2020, arXiv:1910.10683",
    peculiar="pre-norm encoder and decoder without biases, bucketed relative positions shared by the layers",
    objective="span corruption",
    positions="relative bias",
    sizing=Sizing(untied_tables=2),
    config_class=T5Config,
    heads=HEADS,
    old_classes={"T5WithLMHeadModel": "seq2seq"},
    keys=KEYS | {"classifier_dropout": Key("classifier_dropout", 0.0)},
    fixed=FIXED,
    token_ids=TOKEN_IDS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
