"""OPT (Zhang et al. 2022, arXiv:2205.01068): GPT-3's shapes, trained in the open.

Peculiar: positions counted from the attention mask, in a table whose first two rows stand for no position; ReLU; norms
before each branch and one after the last block, except in the 350m model, which has them after each sum, none at the
top, and token vectors narrower than its blocks, widened on the way in and narrowed on the way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.errors import UsageError
from llmkit.models.config import ACTIVATIONS, ModelConfig, setting
from llmkit.models.decoder_heads import decoder_head_rules, decoder_model
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.shells import DecoderModel
    from llmkit.weights.rules import Ignore, Rule

HEADS = {
    "causal_lm": "OPTForCausalLM",
    "classification": "OPTForSequenceClassification",
    "span": "OPTForQuestionAnswering",
    "backbone": "OPTModel",
}
NORM_EPS = 1e-5  # no config.json says it


@dataclass(frozen=True, kw_only=True)
class OptConfig(ModelConfig):
    """Sizes of an OPT, and the switches that tell its models apart; `init_std` is the paper's."""

    max_seq_len: int = setting(2048, low=1, high=2**20, help="longest sequence, in tokens (learned positions)")
    d_embed: int = setting(0, low=0, high=65536, help="width of token vectors; 0: as d_model")
    activation: str = setting("relu", choices=ACTIVATIONS, help="activation of the feed-forward layer")
    norm_before: bool = setting(True, help="norms before each branch and one at the top; false: after each sum")
    without_last_norm: bool = setting(False, help="leave out the norm at the top, as files of early 2022 do")
    norm_weights: bool = setting(True, help="norms have weights and biases of their own")
    bias: bool = setting(True, help="linear layers of the blocks have biases")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of residual branches")
    layer_drop: float = setting(0.0, low=0.0, high=1.0, help="share of blocks left out in training")
    init_std: float = setting(0.006, low=0.0, high=1.0, help="standard deviation of fresh weights")
    head: str = setting("causal_lm", help="what is computed from the hidden states")

    HEADS: ClassVar[tuple[str, ...]] = tuple(HEADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive("d_embed", self.d_model)
        if self.norm_eps != NORM_EPS:
            raise UsageError(f"norm_eps is {self.norm_eps}; in this family it is always {NORM_EPS}", "leave it out")


KEYS = {
    "vocab_size": Key("vocab_size", 50272),
    "d_model": Key("hidden_size", 768),
    "n_layers": Key("num_hidden_layers", 12),
    "n_heads": Key("num_attention_heads", 12),
    "d_ff": Key("ffn_dim", 3072),
    "d_embed": Key("word_embed_proj_dim", 0),
    "max_seq_len": Key("max_position_embeddings", 2048),
    "activation": Key("activation_function", "relu"),
    "norm_before": Key("do_layer_norm_before", True),
    "without_last_norm": Key("_remove_final_layer_norm", False),
    "norm_weights": Key("layer_norm_elementwise_affine", True),
    "bias": Key("enable_bias", True),
    "dropout": Key("dropout", 0.1),
    "attention_dropout": Key("attention_dropout", 0.0),
    "layer_drop": Key("layerdrop", 0.0),
    "init_std": Key("init_std", 0.02),
    "tie_embeddings": Key("tie_word_embeddings", True),
}


def build(c: OptConfig) -> DecoderModel:
    from llmkit.nn.activations import ACTIVATIONS as FUNCTIONS
    from llmkit.nn.attention import Attention
    from llmkit.nn.embeddings import Embeddings, LearnedPositions, counted_by_mask
    from llmkit.nn.feedforward import FeedForward
    from llmkit.nn.init import init_normal, shrink_residual_branches
    from llmkit.nn.linear import Linear
    from llmkit.nn.norms import LayerNorm
    from llmkit.nn.wiring import Block, Residual, Stack

    def norm() -> LayerNorm:
        return LayerNorm(c.d_model, c.norm_eps, elementwise_affine=c.norm_weights)

    def residual(body: Attention | FeedForward) -> Residual:
        if c.norm_before:
            return Residual(body, pre_norm=norm(), dropout=c.dropout)
        return Residual(body, post_norm=norm(), dropout=c.dropout)

    def block() -> Block:
        attention = Attention(c.d_model, c.n_heads, bias=c.bias, dropout=c.attention_dropout)
        feed_forward = FeedForward(c.d_model, c.d_ff, FUNCTIONS[c.activation], bias=c.bias)
        return Block(attn=residual(attention), ffn=residual(feed_forward))

    is_narrow = c.d_embed != c.d_model
    embeddings = Embeddings(
        c.vocab_size,
        c.d_embed,
        token_project=Linear(c.d_embed, c.d_model, bias=False) if is_narrow else None,
        added={"position": LearnedPositions(c.max_seq_len, c.d_model, offset=2)},
        places=counted_by_mask,
    )
    stack = Stack(
        [block() for _ in range(c.n_layers)],
        norm() if c.norm_before and not c.without_last_norm else None,
        project=Linear(c.d_model, c.d_embed, bias=False) if is_narrow else None,
        layer_drop=c.layer_drop,
    )
    model = decoder_model(c, embeddings, stack, d_hidden=c.d_embed)
    init_normal(model, c.init_std)
    shrink_residual_branches(model, c.n_layers)
    return model


def weight_rules(c: OptConfig) -> list[Rule | Ignore]:
    from llmkit.weights.rules import Ignore, JoinRows, Rename, under

    d, layer, block = c.d_model, "decoder.layers.{i}.", "stack.blocks.{i}."
    norm = "pre_norm" if c.norm_before else "post_norm"
    base: list[Rule | Ignore] = [
        Rename("decoder.embed_tokens", "embeddings.token"),
        Rename("decoder.embed_positions", "embeddings.added.position"),
        Rename("decoder.project_in", "embeddings.token_project"),
        JoinRows(layer + "self_attn.", block + "attn.body.qkv", parts=("q_proj", "k_proj", "v_proj"), rows=(d, d, d)),
        Rename(layer + "self_attn.out_proj", block + "attn.body.out"),
        Rename(layer + "self_attn_layer_norm", block + f"attn.{norm}"),
        Rename(layer + "fc1", block + "ffn.body.up"),
        Rename(layer + "fc2", block + "ffn.body.down"),
        Rename(layer + "final_layer_norm", block + f"ffn.{norm}"),
        Rename("decoder.final_layer_norm", "stack.norm"),
        Rename("decoder.project_out", "stack.project"),
        Ignore("decoder.version"),  # fairseq's, in the oldest files
    ]
    return [*under("model.", base, write=c.head != "backbone"), *decoder_head_rules(c)]


FAMILY = Family(
    name="opt",
    kind=Kind.DECODER,
    title="OPT",
    paper="Zhang et al. 2022, arXiv:2205.01068",
    peculiar="pre-norm decoder with ReLU and learned positions counted from the attention mask",
    objective="next token",
    positions="learned",
    sizing=Sizing(embed_projections=2, wide_positions=True),
    config_class=OptConfig,
    heads=HEADS,
    keys=KEYS,
    token_ids={"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 2},
    build=build,
    weight_rules=weight_rules,
)
