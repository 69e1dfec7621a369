"""Sizes and rates of a model under neutral names, checked when made. No torch: recipes and `inspect` read it too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from llmkit.errors import UsageError
from llmkit.suggest import did_you_mean

# The names Hugging Face gives to activations without parameters of their own; llmkit.nn.activations computes them.
ACTIVATIONS = (
    *("gelu", "gelu_10", "gelu_accurate", "gelu_fast", "gelu_new", "gelu_python", "gelu_python_tanh"),
    *("gelu_pytorch_tanh", "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2"),
    *("relu6", "sigmoid", "silu", "sqrtsoftplus", "swish", "tanh"),
)
# Heads whose scores have names.
LABELLED = ("classification", "token_classification")
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "bool": (bool,), "str": (str,)}


def setting(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    help: str = "",
) -> Any:
    """A config field with its legal range (both ends included) or choices, and one line of help."""
    return field(default=default, metadata={"low": low, "high": high, "choices": choices, "help": help})


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a family is built from. Sizes are data, structure is code: "pre or post norm" is never a field.

    A size of 0 asks for the value that follows from the others (see `d_ff`, `n_kv_heads`, `head_dim`); after
    construction every size is filled in. Raises UsageError naming the field, its value and the legal range.
    """

    vocab_size: int = setting(low=1, high=2**24, help="number of token ids")
    d_model: int = setting(low=1, high=65536, help="width of the residual stream")
    n_layers: int = setting(low=1, high=1024, help="number of blocks")
    n_heads: int = setting(low=1, high=1024, help="attention heads per layer")
    n_kv_heads: int = setting(0, low=0, high=1024, help="heads of keys and values; 0: as many as n_heads")
    head_dim: int = setting(0, low=0, high=65536, help="width of a head; 0: d_model / n_heads")
    d_ff: int = setting(0, low=0, high=2**20, help="hidden width of the feed-forward layer; 0: the family's rule")
    max_seq_len: int = setting(low=1, high=2**24, help="longest sequence, in tokens")
    activation: str = setting("gelu", choices=ACTIVATIONS, help="activation of the feed-forward layer")
    norm_eps: float = setting(1e-5, low=0.0, high=1.0, help="added to the variance inside norms")
    dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout of embeddings and residual branches")
    attention_dropout: float = setting(0.0, low=0.0, high=1.0, help="dropout of attention weights")
    init_std: float = setting(0.02, low=0.0, high=1.0, help="standard deviation of fresh weights")
    tie_embeddings: bool = setting(True, help="the output layer shares the embedding matrix")
    pad_id: int | None = setting(None, low=0, high=2**24, help="id of the padding token")
    bos_id: int | None = setting(None, low=0, high=2**24, help="id of the token that begins a text")
    eos_id: int | None = setting(None, low=0, high=2**24, help="id of the token that ends a text")
    extra_eos_ids: tuple[int, ...] = setting((), help="further ids that end a text")
    prefix_lm: bool = setting(False, help="a prompt is read both ways before the model writes on")
    head: str = setting("backbone", help="what is computed from the hidden states")
    labels: tuple[str, ...] = setting((), help="class names of a classification head, by index")

    # Heads this family knows, first the one it is pretrained with; filled by subclasses.
    HEADS: ClassVar[tuple[str, ...]] = ("backbone",)
    # Which of n_kv_heads and head_dim the family lets differ from what n_heads and d_model make of them.
    FREE: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for f in fields(self):
            check(f.name, getattr(self, f.name), str(f.type), f.metadata)
        self._derive("n_kv_heads", self.n_heads)
        if self.n_heads % self.n_kv_heads:
            raise UsageError(f"n_kv_heads is {self.n_kv_heads}; it must divide n_heads, which is {self.n_heads}")
        if not self.head_dim and self.d_model % self.n_heads:
            raise UsageError(
                f"d_model is {self.d_model}; it must be a multiple of n_heads, which is {self.n_heads}",
                "change one of them, or set head_dim where the family allows it",
            )
        self._derive("head_dim", self.d_model // self.n_heads)
        self._derive("d_ff", self.usual_d_ff())
        self._check_heads()
        if self.head not in self.HEADS:
            raise UsageError(
                f"head is {self.head!r}; it must be one of {', '.join(self.HEADS)}", did_you_mean(self.head, self.HEADS)
            )
        if (self.head in LABELLED) != bool(self.labels):
            raise UsageError(
                f"labels has {len(self.labels)} names with head {self.head!r}; "
                "a classification head needs at least one, other heads none"
            )
        if len(set(self.labels)) != len(self.labels):
            raise UsageError("labels holds the same name twice; each class needs its own")

    def usual_d_ff(self) -> int:
        """Hidden width of the feed-forward layer when nobody chose one (Vaswani et al. 2017: four times the width)."""
        return 4 * self.d_model

    def _check_heads(self) -> None:
        usual = {"n_kv_heads": self.n_heads, "head_dim": self.d_model // self.n_heads}
        for name, value in usual.items():
            if name not in self.FREE and getattr(self, name) != value:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; this family has one key and value head per query head, "
                    "each d_model / n_heads wide",
                    "leave n_kv_heads and head_dim out",
                )
        if "head_dim" not in self.FREE and self.d_model % self.n_heads:
            raise UsageError(f"d_model is {self.d_model}; it must be a multiple of n_heads, which is {self.n_heads}")

    @property
    def n_stored_blocks(self) -> int:
        """Blocks with weights of their own; fewer than n_layers where layers share them."""
        return self.n_layers

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Every id that ends a text."""
        return (*(() if self.eos_id is None else (self.eos_id,)), *self.extra_eos_ids)

    def _derive(self, name: str, value: int) -> None:
        if not getattr(self, name):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(ModelConfig):
    """Sizes of a model with two stacks: n_layers, n_heads and d_ff are the encoder's."""

    # Which id outputs begin with where nothing else is said: the padding's, or the end token's.
    BEGINS_WITH: ClassVar[str] = "pad_id"

    n_decoder_layers: int = setting(0, low=0, high=1024, help="blocks of the decoder; 0: as many as n_layers")
    n_decoder_heads: int = setting(0, low=0, high=1024, help="attention heads of the decoder; 0: as many as n_heads")
    d_decoder_ff: int = setting(0, low=0, high=2**20, help="feed-forward width of the decoder; 0: as d_ff")
    decoder_start_id: int | None = setting(None, low=0, high=2**24, help="id that every output begins with")
    forced_bos_id: int | None = setting(None, low=0, high=2**24, help="id that follows it in every output")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._derive("n_decoder_layers", self.n_layers)
        self._derive("n_decoder_heads", self.n_heads)
        self._derive("d_decoder_ff", self.d_ff)
        if "head_dim" not in self.FREE and self.d_model % self.n_decoder_heads:
            raise UsageError(
                f"d_model is {self.d_model}; it must be a multiple of n_decoder_heads, which is {self.n_decoder_heads}"
            )


def check(name: str, value: object, type_name: str, rules: Any) -> None:
    """Raise UsageError unless `value` has the annotated type and lies in the range or choices of `setting`."""
    optional = type_name.endswith(" | None")
    kind = type_name.removesuffix(" | None")
    if (value is None and optional) or kind not in _TYPES:
        return
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise UsageError(f"{name} is {value!r}; it must be {_article(kind)}")
    low, high, choices = rules.get("low"), rules.get("high"), rules.get("choices")
    if choices is not None and value not in choices:
        raise UsageError(
            f"{name} is {value!r}; it must be one of {', '.join(choices)}", did_you_mean(str(value), choices)
        )
    if isinstance(value, (int, float)) and kind != "bool":
        outside = (low is not None and value < low) or (high is not None and value > high)
        if outside or not math.isfinite(value):
            raise UsageError(f"{name} is {value}; it must be {_range(low, high)}")


def _article(kind: str) -> str:
    return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word"}[kind]


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "finite"
    if high is None:
        return f"at least {low}"
    return f"at most {high}" if low is None else f"between {low} and {high}"
