"""XLM (Lample and Conneau 2019, arXiv:1901.07291): one encoder for many languages, and for pairs of sentences in two.

Peculiar: norms after each residual sum and after the embeddings, a vector for the language of each token, positions
learned from random values or from sines, hidden states kept at zero where there is padding, and a variant that reads
left to right and looks at those zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Fixed, HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.multilingual_shells import MultilingualEncoder
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "masked_lm": "XLMWithLMHeadModel",
    "classification": "XLMForSequenceClassification",
    "token_classification": "XLMForTokenClassification",
    "span": "XLMForQuestionAnsweringSimple",
    "backbone": "XLMModel",
}
TOKEN_IDS = {"pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1}


@dataclass(frozen=True, kw_only=True)
class XlmConfig(ModelConfig):
    """Sizes of an XLM. The feed-forward layers are always four times as wide as the model."""

    max_seq_len: int = setting(512, low=1, high=2**20, help="longest sequence, in tokens (a table of positions)")
    activation: str = setting("gelu", choices=("gelu", "relu"), help="activation of the feed-forward layer")
    norm_eps: float = setting(1e-12, low=0.0, high=1.0, help="added to the variance inside norms")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    embedding_init_std: float = setting(2048**-0.5, low=0.0, high=1.0, help="standard deviation of fresh embeddings")
    sinusoidal: bool = setting(False, help="the table of positions starts as sines, not at random")
    causal: bool = setting(False, help="tokens see those before them only")
    n_languages: int = setting(1, low=1, high=65536, help="languages; with one, there are no language vectors")
    language_embeddings: bool = setting(True, help="tokens are marked with their language, where it is given")
    summary: str = setting(
        "first", choices=("first", "last", "mean", "cls_index"), help="what a text is classified by: one place, or all"
    )
    summary_activation: str | None = setting(None, choices=ACTIVATIONS, help="activation of the class scores")
    summary_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout before the classifier of texts")
    head: str = setting("masked_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_ff != self.usual_d_ff():
            raise UsageError(
                f"d_ff is {self.d_ff}; in this family it is {self.usual_d_ff()}, four times d_model", "leave d_ff out"
            )


KEYS = {
    "vocab_size": Key("vocab_size", 30145, also=("n_words",)),
    "d_model": Key("emb_dim", 2048, also=("hidden_size",)),
    "n_layers": Key("n_layers", 12, also=("num_hidden_layers",)),
    "n_heads": Key("n_heads", 16, also=("num_attention_heads",)),
    "max_seq_len": Key("max_position_embeddings", 512),
    "norm_eps": Key("layer_norm_eps", 1e-12),
    "dropout": Key("dropout", 0.1),
    "attention_dropout": Key("attention_dropout", 0.1),
    "init_std": Key("init_std", 0.02),
    "embedding_init_std": Key("embed_init_std", 2048**-0.5),
    "sinusoidal": Key("sinusoidal_embeddings", False),
    "causal": Key("causal", False),
    "n_languages": Key("n_langs", 1),
    "language_embeddings": Key("use_lang_emb", True),
    "summary": Key("summary_type", "first"),
    "summary_activation": Key("summary_activation", None),
    "summary_dropout": Key("summary_first_dropout", 0.1),
    "tie_embeddings": Key("tie_word_embeddings", True),
}
OLD_IDS = {"pad_index": "pad_token_id", "bos_index": "bos_token_id", "eos_index": "eos_token_id"}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    if r.head(HEADS, default="masked_lm") == "classification":
        for key in ("summary_use_proj", "summary_proj_to_labels"):
            r.refuse(key, True, because="without it the classifier has d_model scores, not one for each class")
    ids = HfConfig({OLD_IDS.get(name, name): value for name, value in r.raw.items()} | dict(r.raw), r.title)
    activation = "gelu" if r.flag("gelu_activation", default=True) else "relu"
    bend = r.text("summary_activation", default=None) or None  # an empty word is none, too
    named = ids.token_ids(r.whole("vocab_size", "n_words", default=30145), **TOKEN_IDS)
    return {"activation": activation, "summary_activation": bend, **named}


def more_to_hf(c: XlmConfig) -> dict[str, object]:
    return {"gelu_activation": c.activation == "gelu"}


def build(c: XlmConfig) -> MultilingualEncoder:
    from torch import nn

    from llmkit.models.multilingual_shells import LeftToRightMultilingual, MultilingualEncoder
    from llmkit.nn.activations import ACTIVATIONS, linear
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.heads import Decision, LMHead, every_token
    from llmkit.nn.init import fill_with_sines, init_normal
    from llmkit.nn.languages import HidePadding, Languages
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.summaries import SUMMARIES, ActivatedDecision
    from llmkit.nn.wiring import Block, Residual, Stack

    def residual(body: nn.Module) -> Residual:
        return Residual(body, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, ACTIVATIONS[c.activation])
        return Block(hide=HidePadding(), attn=residual(attention), ffn=residual(feed_forward))

    positions = LearnedPositions(c.max_seq_len, c.d_model)
    added: dict[str, nn.Module] = {"position": positions}
    if c.language_embeddings and c.n_languages > 1:
        added["language"] = Languages(c.n_languages, c.d_model)
    norm = LayerNorm(c.d_model, c.norm_eps)
    embeddings = Embeddings(c.vocab_size, c.d_model, added=added, norm=norm, dropout=c.dropout)
    stack = Stack([block() for _ in range(c.n_layers)])
    bend = linear if c.summary_activation is None else ACTIVATIONS[c.summary_activation]
    tied = embeddings.token.weight if c.tie_embeddings else None
    heads = {
        "masked_lm": lambda: LMHead(c.d_model, c.vocab_size, tied=tied, bias=True),
        "classification": lambda: ActivatedDecision(c.d_model, len(c.labels), bend, dropout=c.summary_dropout),
        "token_classification": lambda: Decision(c.d_model, len(c.labels), dropout=c.dropout),
        "span": lambda: Decision(c.d_model, 2),
        "backbone": lambda: None,
    }
    shell = LeftToRightMultilingual if c.causal else MultilingualEncoder
    select = SUMMARIES[c.summary] if c.head == "classification" else every_token
    model = shell(c, embeddings, stack, heads[c.head](), select=select)
    init_normal(model, c.init_std)
    init_normal(embeddings, c.embedding_init_std)
    if c.sinusoidal:
        fill_with_sines(positions)
    return model


def weight_rules(c: XlmConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Alias, Ignore, JoinRows, Rename, under

    d, attention, block = c.d_model, "attentions.{i}.", "stack.blocks.{i}."
    base: list[Rule | Ignore] = [
        Rename("embeddings", "embeddings.token"),
        Rename("position_embeddings", "embeddings.added.position"),
        Rename("lang_embeddings", "embeddings.added.language"),
        Rename("layer_norm_emb", "embeddings.norm"),
        JoinRows(attention, block + "attn.body.qkv", parts=("q_lin", "k_lin", "v_lin"), rows=(d, d, d)),
        Rename(attention + "out_lin", block + "attn.body.out"),
        Rename("layer_norm1.{i}", block + "attn.post_norm"),
        Rename("ffns.{i}.lin1", block + "ffn.body.up"),
        Rename("ffns.{i}.lin2", block + "ffn.body.down"),
        Rename("layer_norm2.{i}", block + "ffn.post_norm"),
        Ignore("position_ids"),
    ]
    tied = Alias("pred_layer.proj.weight", "embeddings.token.weight")
    on_top: dict[str, list[Rule | Ignore]] = {
        "masked_lm": [Rename("pred_layer.proj", "head.decoder"), *([tied] if c.tie_embeddings else [])],
        "classification": [Rename("sequence_summary.summary", "head.linear")],
        "token_classification": [Rename("classifier", "head.linear")],
        "span": [Rename("qa_outputs", "head.linear")],
        "backbone": [],
    }
    return [*under("transformer.", base, write=c.head != "backbone"), *on_top[c.head]]


FAMILY = Family(
    name="xlm",
    kind=Kind.ENCODER,
    title="XLM",
    paper="Lample and Conneau 2019, arXiv:1901.07291",
    peculiar="post-norm encoder for many languages, with a vector for the language of each token",
    objective="masked tokens, also in pairs of translations; next token",
    positions="learned",
    sizing=Sizing(norm_after=True, has_transform=False),
    config_class=XlmConfig,
    heads=HEADS,
    keys=KEYS,
    fixed=(
        Fixed("asm", False, because="it replaces the output layer by an adaptive softmax"),
        Fixed("is_encoder", True, because="it makes a decoder with cross-attention"),
        Fixed("summary_type", "first", "last", "mean", "cls_index", because="no such summary of a text is known"),
        Fixed("summary_last_dropout", 0, 0.0, because="it drops class scores"),
    ),
    token_ids=TOKEN_IDS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
