"""GPT (Radford et al. 2018, "Improving Language Understanding by Generative Pre-Training"), the first of its name.

Peculiar: norms after each residual sum and none at the top, as in the original Transformer's decoder without its
encoder; learned positions; tanh-approximated GELU, which its config calls plain "gelu"; output layer tied to the
embedding; linear weights stored transposed, with query, key and value side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig, setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "OpenAIGPTLMHeadModel",
    "classification": "OpenAIGPTForSequenceClassification",
    "backbone": "OpenAIGPTModel",
}
# Their names for activations, all that transformers accepts here, and ours.
ACTIVATIONS = {"gelu": "gelu_new", "relu": "relu", "silu": "silu", "swish": "swish"}


@dataclass(frozen=True, kw_only=True)
class OpenAiGptConfig(ModelConfig):
    """Sizes of a GPT; defaults are the paper's rates."""

    max_seq_len: int = setting(512, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    activation: str = setting(
        "gelu_new", choices=tuple(ACTIVATIONS.values()), help="activation of the feed-forward layer"
    )
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of residual branches")
    embedding_dropout: float | None = setting(None, low=0.0, high=1.0, help="dropout of embeddings; none: as dropout")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_dropout is None:
            object.__setattr__(self, "embedding_dropout", self.dropout)
        if self.d_ff != 4 * self.d_model:
            raise UsageError(f"d_ff is {self.d_ff}; in this family it is always 4 * d_model", "leave d_ff out")


KEYS = {
    "vocab_size": Key("vocab_size", 40478),
    "d_model": Key("n_embd", 768, also=("hidden_size",)),
    "n_layers": Key("n_layer", 12, also=("num_hidden_layers",)),
    "n_heads": Key("n_head", 12, also=("num_attention_heads",)),
    "max_seq_len": Key("n_positions", 512, also=("max_position_embeddings",)),
    "norm_eps": Key("layer_norm_epsilon", 1e-5),
    "dropout": Key("resid_pdrop", 0.1),
    "embedding_dropout": Key("embd_pdrop", 0.1),
    "attention_dropout": Key("attn_pdrop", 0.1),
    "init_std": Key("initializer_range", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def more_from_hf(r: HfConfig) -> dict[str, Any]:
    name = r.text("afn", default="gelu")
    if name not in ACTIVATIONS:
        raise r.wrong("afn", name, f"one of {', '.join(ACTIVATIONS)}")
    return {"activation": ACTIVATIONS[name]}


def more_to_hf(c: OpenAiGptConfig) -> dict[str, object]:
    theirs = {ours: name for name, ours in ACTIVATIONS.items()}
    return {"afn": theirs[c.activation]}


def build(c: OpenAiGptConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.init import init_normal
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation])
        return Block(
            attn=Residual(attention, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout),
            ffn=Residual(feed_forward, post_norm=LayerNorm(c.d_model, c.norm_eps), dropout=c.dropout),
        )

    embeddings = Embeddings(
        c.vocab_size,
        c.d_model,
        added={"position": LearnedPositions(c.max_seq_len, c.d_model)},
        dropout=c.embedding_dropout or 0.0,
    )
    model = decoder_model(c, embeddings, Stack([block() for _ in range(c.n_layers)]))
    init_normal(model, c.init_std)
    return model


def weight_rules(c: OpenAiGptConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, Rename, Transpose, under

    base: list[Rule | Ignore] = [
        Rename("tokens_embed", "embeddings.token"),
        Rename("positions_embed", "embeddings.added.position"),
        Transpose("h.{i}.attn.c_attn", "stack.blocks.{i}.attn.body.qkv"),
        Transpose("h.{i}.attn.c_proj", "stack.blocks.{i}.attn.body.out"),
        Rename("h.{i}.ln_1", "stack.blocks.{i}.attn.post_norm"),
        Transpose("h.{i}.mlp.c_fc", "stack.blocks.{i}.ffn.body.up"),
        Transpose("h.{i}.mlp.c_proj", "stack.blocks.{i}.ffn.body.down"),
        Rename("h.{i}.ln_2", "stack.blocks.{i}.ffn.post_norm"),
        Ignore("h.{i}.attn.bias"),  # the causal mask, stored by old versions
        Ignore("position_ids"),
    ]
    return [*under("transformer.", base, write=c.head != "backbone"), *decoder_head_rules(c)]


FAMILY = Family(
    name="openai_gpt",
    model_type="openai-gpt",
    kind=Kind.DECODER,
    title="GPT",
    paper="Radford et al. 2018, Improving Language Understanding by Generative Pre-Training",
    peculiar="post-norm decoder with learned positions, no norm at the top and a tied output layer",
    objective="next token",
    positions="learned",
    sizing=Sizing(norm_after=True),
    config_class=OpenAiGptConfig,
    heads=HEADS,
    keys=KEYS,
    more_from_hf=more_from_hf,
    more_to_hf=more_to_hf,
    build=build,
    weight_rules=weight_rules,
)
