"""What T5 and its kin (Switch Transformers) call their settings and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS, EncoderDecoderConfig, setting
from llmkit.models.hf_config import Fixed, HfConfig, Key

if TYPE_CHECKING:
    from llmkit.weights.rules import Ignore, Rule

# Heads that read a text with the encoder alone.
ENCODER_ONLY = ("token_classification", "encoder")


@dataclass(frozen=True, kw_only=True)
class T5LikeConfig(EncoderDecoderConfig):
    """Settings that all of them store. Both towers have heads and feed-forward layers of the same sizes.

    init_std is a factor: every weight has a standard deviation of its own that it multiplies.
    """

    max_seq_len: int = setting(512, low=1, high=2**24, help="longest text in training, in tokens; nothing limits it")
    activation: str = setting("relu", choices=ACTIVATIONS, help="activation of the feed-forward layer")
    norm_eps: float = setting(1e-6, low=0.0, high=1.0, help="added to the mean square inside norms")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings, branches, hidden units and outputs")
    attention_dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of attention weights")
    n_buckets: int = setting(32, low=4, high=2**16, help="kinds of distances between tokens (relative positions)")
    max_distance: int = setting(128, low=1, high=2**24, help="distances from here on are of one kind")
    init_std: float = setting(1.0, low=0.0, high=1e3, help="factor on the standard deviations of fresh weights")
    head: str = setting("seq2seq", help="what is computed from the hidden states")

    FREE: ClassVar[tuple[str, ...]] = ("head_dim",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for theirs, ours in (("n_decoder_heads", "n_heads"), ("d_decoder_ff", "d_ff")):
            if getattr(self, theirs) != getattr(self, ours):
                raise UsageError(
                    f"{theirs} is {getattr(self, theirs)} and {ours} {getattr(self, ours)}; "
                    "this family has one size for both towers",
                    f"leave {theirs} out",
                )


KEYS = {
    "vocab_size": Key("vocab_size", 32128),
    "d_model": Key("d_model", 512, also=("hidden_size",)),
    "n_layers": Key("num_layers", 6, also=("num_hidden_layers",)),
    "n_decoder_layers": Key("num_decoder_layers", 0),
    "n_heads": Key("num_heads", 8, also=("num_attention_heads",)),
    "head_dim": Key("d_kv", 64, also=("head_dim",)),
    "d_ff": Key("d_ff", 2048),
    "max_seq_len": Key("n_positions", 512),
    "n_buckets": Key("relative_attention_num_buckets", 32),
    "max_distance": Key("relative_attention_max_distance", 128),
    "norm_eps": Key("layer_norm_epsilon", 1e-6),
    "dropout": Key("dropout_rate", 0.1),
    "init_std": Key("initializer_factor", 1.0),
    "decoder_start_id": Key("decoder_start_token_id", None),
    "tie_embeddings": Key("tie_word_embeddings", True),
}
FIXED = (Fixed("is_decoder", False, because="it turns the encoder into a left-to-right decoder"),)
TOKEN_IDS = {"pad_token_id": 0, "eos_token_id": 1}


def attention_dropout_from_hf(r: HfConfig) -> dict[str, Any]:
    """Their files know one rate; ours may hold a second, which transformers ignores."""
    return {"attention_dropout": r.number("attention_dropout", "dropout_rate", default=0.1)}


def attention_dropout_to_hf(c: T5LikeConfig) -> dict[str, object]:
    return {"attention_dropout": c.attention_dropout} if c.attention_dropout != c.dropout else {}


def tower_rules(c: T5LikeConfig, theirs: str, ours: str, ffn: list[tuple[str, str]]) -> list[Rule | Ignore]:
    """One tower; theirs: "encoder." or "decoder.". ffn: their names and ours of what is inside its last sublayer."""
    from llmkit.weights.rules import Ignore, JoinRows, Rename

    heads = c.n_heads * c.head_dim
    layer, block = theirs + "block.{i}.layer.", ours + "stack.blocks.{i}."
    last = layer + ("2" if theirs == "decoder." else "1")
    rules: list[Rule | Ignore] = [
        JoinRows(layer + "0.SelfAttention.", block + "attn.body.qkv", parts=("q", "k", "v"), rows=(heads,) * 3),
        Rename(layer + "0.SelfAttention.o", block + "attn.body.out"),
        Rename(layer + "0.layer_norm", block + "attn.pre_norm"),
        Rename(theirs + "block.0.layer.0.SelfAttention.relative_attention_bias", ours + "score_bias.table"),
        Rename(layer + "1.EncDecAttention.q", block + "cross.body.q"),
        JoinRows(layer + "1.EncDecAttention.", block + "cross.body.kv", parts=("k", "v"), rows=(heads,) * 2),
        Rename(layer + "1.EncDecAttention.o", block + "cross.body.out"),
        Rename(layer + "1.layer_norm", block + "cross.pre_norm"),
        # The oldest files hold a table that cross-attention never used.
        Ignore(theirs + "block.0.layer.1.EncDecAttention.relative_attention_bias.weight"),
        *(Rename(f"{last}.{a}", block + f"ffn.body.{b}") for a, b in ffn),
        Rename(last + ".layer_norm", block + "ffn.pre_norm"),
        Rename(theirs + "final_layer_norm", ours + "stack.norm.0"),
    ]
    return rules


def table_rules(*, shared: bool, encoder: str) -> list[Rule | Ignore]:
    """The token tables: one, which files keep under up to three names, or one for each tower. encoder: "encoder.", or
    "" for a model that is the encoder alone."""
    from llmkit.weights.rules import Alias, Rename

    ours = encoder + "embeddings.token"
    if shared:
        return [
            Rename("shared", ours),
            Alias("encoder.embed_tokens.weight", ours + ".weight"),
            Alias("decoder.embed_tokens.weight", ours + ".weight"),
        ]
    return [
        Rename("encoder.embed_tokens", ours),
        Rename("decoder.embed_tokens", "decoder.embeddings.token"),
        # Untied, transformers keeps a third table that it stores but never reads.
        Alias("shared.weight", ours + ".weight", may_differ=True, written=True),
    ]


def unread(rules: list[Rule | Ignore]) -> list[Rule | Ignore]:
    """The same tensors where nothing is made of them: an encoder opened from a file that holds both towers."""
    from llmkit.weights.rules import Ignore, Rule

    stems = [stem for rule in rules if isinstance(rule, Rule) for stem in rule.stems()]
    return [Ignore(stem + leaf) for stem in stems for leaf in (".weight", ".bias", "")]
