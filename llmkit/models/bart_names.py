"""What the checkpoints of BART and its kin (Marian, PEGASUS) call their settings and tensors; they share one layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmkit.errors import UsageError
from llmkit.models.config import EncoderDecoderConfig, setting
from llmkit.models.hf_config import HfConfig, Key

if TYPE_CHECKING:
    from torch import Tensor

    from llmkit.weights.rules import Ignore, Rule

NORM_EPS = 1e-5  # their norms take the framework's default; no file says so


@dataclass(frozen=True, kw_only=True)
class BartLikeConfig(EncoderDecoderConfig):
    """Settings that all of them store."""

    max_seq_len: int = setting(1024, low=1, high=2**20, help="longest input or output, in tokens")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    ffn_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout inside the feed-forward layers")
    layer_drop: float = setting(0.0, low=0.0, high=1.0, help="share of encoder blocks left out in training")
    decoder_layer_drop: float = setting(0.0, low=0.0, high=1.0, help="share of decoder blocks left out in training")
    scale_embedding: bool = setting(False, help="multiply token vectors by the square root of d_model")
    forced_eos_id: int | None = setting(
        None, low=0, high=2**24, help="id that an output cut short ends with; kept for transformers"
    )
    head: str = setting("seq2seq", help="what is computed from the hidden states")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm_eps != NORM_EPS:
            raise UsageError(f"norm_eps is {self.norm_eps}; checkpoints of this family know {NORM_EPS} only")


KEYS = {
    "vocab_size": Key("vocab_size"),
    "d_model": Key("d_model", 1024),
    "n_layers": Key("encoder_layers", 12),
    "n_heads": Key("encoder_attention_heads", 16),
    "d_ff": Key("encoder_ffn_dim", 4096),
    "n_decoder_layers": Key("decoder_layers", 12),
    "n_decoder_heads": Key("decoder_attention_heads", 16),
    "d_decoder_ff": Key("decoder_ffn_dim", 4096),
    "max_seq_len": Key("max_position_embeddings", 1024),
    "activation": Key("activation_function", "gelu"),
    "dropout": Key("dropout", 0.1),
    "attention_dropout": Key("attention_dropout", 0.0),
    "ffn_dropout": Key("activation_dropout", 0.0),
    "layer_drop": Key("encoder_layerdrop", 0.0),
    "decoder_layer_drop": Key("decoder_layerdrop", 0.0),
    "scale_embedding": Key("scale_embedding", False),
    "decoder_start_id": Key("decoder_start_token_id", None),
    "forced_eos_id": Key("forced_eos_token_id", None, kept=True),
    "init_std": Key("init_std", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def other_names(r: HfConfig) -> dict[str, Any]:
    """Settings of the encoder under the names that all models have; transformers lets those win."""
    theirs = {"d_model": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads"}
    return {ours: r.whole(name) for ours, name in theirs.items() if r.raw.get(name) is not None}


def tower_rules(c: EncoderDecoderConfig, theirs: str, ours: str, norms: str) -> list[Rule | Ignore]:
    """One tower: theirs "encoder." or "decoder."; norms: which side of a branch they are on, "pre_norm" or
    "post_norm"."""
    from llmkit.weights.rules import Ignore, JoinRows, Rename

    d, layer, block = c.d_model, theirs + "layers.{i}.", ours + "stack.blocks.{i}."
    rules: list[Rule | Ignore] = [
        JoinRows(layer + "self_attn.", block + "attn.body.qkv", parts=("q_proj", "k_proj", "v_proj"), rows=(d, d, d)),
        Rename(layer + "self_attn.out_proj", block + "attn.body.out"),
        Rename(layer + "self_attn_layer_norm", block + f"attn.{norms}"),
        Rename(layer + "encoder_attn.q_proj", block + "cross.body.q"),
        JoinRows(layer + "encoder_attn.", block + "cross.body.kv", parts=("k_proj", "v_proj"), rows=(d, d)),
        Rename(layer + "encoder_attn.out_proj", block + "cross.body.out"),
        Rename(layer + "encoder_attn_layer_norm", block + f"cross.{norms}"),
        Rename(layer + "fc1", block + "ffn.body.up"),
        Rename(layer + "fc2", block + "ffn.body.down"),
        Rename(layer + "final_layer_norm", block + f"ffn.{norms}"),
        Ignore(theirs + "version"),  # fairseq's, in the oldest files
    ]
    return rules


def table_rules(
    c: EncoderDecoderConfig, *, shared: bool, third: bool = True, table: str = "shared", each: str = "embed_tokens"
) -> list[Rule | Ignore]:
    """The token tables: one that both towers own and files keep under up to three names, or one each.

    third: untied files hold a common table nevertheless. table, each: what checkpoints call it and that of a tower.
    """
    from llmkit.weights.rules import Alias, Rename

    ours = "encoder.embeddings.token"
    if shared:
        return [
            Rename(table, ours),
            Alias(f"encoder.{each}.weight", ours + ".weight"),
            Alias(f"decoder.{each}.weight", ours + ".weight"),
        ]
    return [
        Rename(f"encoder.{each}", ours),
        Rename(f"decoder.{each}", "decoder.embeddings.token"),
        # Untied, transformers keeps a third table that it stores but never reads.
        Alias(f"{table}.weight", ours + ".weight", may_differ=True, written=third and not c.tie_embeddings),
    ]


def sinusoid_rules(c: EncoderDecoderConfig, theirs: str, *, written: bool) -> list[Rule | Ignore]:
    """The table of sines of one tower, "encoder." or "decoder.", which files store; written: whether we do."""
    from llmkit.weights.rules import Computed, Ignore

    def table() -> Tensor:
        import torch

        from llmkit.nn.embeddings import SinusoidalPositions

        return SinusoidalPositions(c.d_model, limit=c.max_seq_len)(torch.arange(c.max_seq_len))

    name = theirs + "embed_positions.weight"
    return [Computed(name, make=table) if written else Ignore(name)]


def lm_head_rules(c: EncoderDecoderConfig, *, table: str = "encoder.embeddings.token.weight") -> list[Rule | Ignore]:
    """The output layer of the class for generation; its bias is a buffer there, with a row dimension."""
    from llmkit.weights.rules import Alias, Rename, Reshape

    tied = Alias("lm_head.weight", table) if c.tie_embeddings else Rename("lm_head.weight", "head.decoder.weight")
    bias = Reshape("final_logits_bias", "head.decoder.bias", their_shape=(1, -1), our_shape=(-1,))
    return [tied, bias]
