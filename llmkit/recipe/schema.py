"""What a recipe may say: frozen dataclasses whose fields carry their own help and limits.

The reader, `--set`, the JSON Schema, `llmkit recipe schema` and shell completion all derive from this one description.
The keys of the `model` section are not here: they are the fields of the chosen family's configuration class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmkit.recipe.tasks import TASKS


@dataclass(frozen=True)
class Key:
    """What one key accepts, in words and in limits; `above` is a limit that is itself not allowed.

    only: the objectives that read it, if not all do.
    """

    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str | None = None
    only: tuple[str, ...] = ()


def key(
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    pattern: str | None = None,
    only: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that describes itself."""
    described = Key(help, low, high, above, choices, pattern, only)
    return field(default=default, metadata={"key": described})


@dataclass(frozen=True)
class ModelSettings:
    """The network, drawn with random weights: a family and the sizes that this family understands."""

    family: str = key("model family, the model_type of Hugging Face")
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TokenizerSettings:
    """How text becomes numbers: learn a tokenizer from the training text, or take one from `path`."""

    algorithm: str = key(
        "how the tokenizer is learned from the training text",
        "bpe",
        choices=("bpe", "wordpiece", "unigram", "char"),
    )
    vocab_size: int = key("entries to learn; a small corpus may give fewer, char ignores it", 8192, low=16, high=2**24)
    path: str | None = key("a tokenizer.json, its directory or a tokenizer's name; then nothing is learned", None)


@dataclass(frozen=True)
class DataSettings:
    """The text to learn from, and the part of it that is kept for validation."""

    train: str | list[str] = key(  # noqa: RUF009  the default is a string, which cannot change
        "training data: stories (built in), a path, a glob, .gz, .zst, .jsonl, .parquet, - for stdin, or a list",
        "stories",
    )
    target: str | list[str] | None = key(  # noqa: RUF009
        "for pairs of texts: files whose lines belong to the lines of train; null: see data.pair", None
    )
    weights: list[float] | None = key(  # noqa: RUF009
        "how often an epoch holds each entry of train: [2, 0.5] reads the first twice and half of the second",
        None,
        above=0,
        high=100,
    )
    validation: str | None = key("validation data in the same forms; null holds out a part of the training data", None)
    validation_target: str | None = key("for pairs of texts: the other side of validation", None)
    validation_fraction: float = key(
        "part of the training data to hold out when validation is null", 0.05, low=0, high=0.5
    )
    stories: int = key("how many stories to write when data is stories", 20_000, low=1, high=10**9)
    seed: int = key("seed of the stories and of the held-out part", 0, low=0, high=2**63 - 1)
    field: str | None = key("field or column that holds the text, for records", None)
    text: str | None = key("column that holds the text, for tables; null finds it by name", None)
    pair: str | None = key(
        "column that holds a second text, for tasks on pairs; with stories: summary, question or mirror (a made-up "
        "language)",
        None,
    )
    label: str | None = key("column that holds the label, or the code; null finds it by name", None)


# Objectives that hide tokens one by one, and those that hide runs of them or whole sentences.
SINGLE = ("masked", "replaced_token", "distillation", "translation_masked")
SPANS = ("span_corruption", "denoising", "permutation")


@dataclass(frozen=True)
class ObjectiveSettings:
    """What the model is asked to do while it learns."""

    name: str = key("the task", choices=tuple(TASKS))
    mask_rate: float | None = key(
        "share of the tokens (gap_sentences: of the sentences) to hide and predict; null: as in the paper",
        None,
        above=0,
        high=0.9,
        only=(*SINGLE, *SPANS, "future_ngram", "gap_sentences"),
    )
    whole_words: bool = key("hide all pieces of a word or none", False, only=SINGLE)
    static_masks: int = key(
        "maskings made once per example and taken in turn; 0: drawn anew each time", 0, low=0, high=1000, only=SINGLE
    )
    next_sentence: bool = key("also tell real next sentences from random ones", False, only=("masked",))
    sentence_order: bool = key("also tell whether two runs of sentences were swapped", False, only=("masked",))
    long_share: float = key(
        "share of the steps, the last ones, whose examples are as long as model.max_seq_len",
        0.0,
        low=0,
        high=1,
        only=("masked", "replaced_token", "distillation", "span_corruption"),
    )
    mean_span: float = key("mean length of a hidden run, in tokens", 3.0, low=1, high=1000, only=SPANS)
    permute_sentences: bool = key("also shuffle the sentences", True, only=("denoising",))
    monolingual: float = key(
        "share of the examples that are one side of a pair, alone", 0.0, low=0, high=1, only=("translation_masked",)
    )
    generator_size: float = key(
        "width of the generator beside the model's", 0.25, above=0, high=1, only=("replaced_token",)
    )
    replaced_weight: float = key(
        "weight of the replaced-token loss beside the generator's", 50.0, low=0, high=1e4, only=("replaced_token",)
    )
    teacher: str | None = key("checkpoint to learn from, NAME, NAME@STEP or a directory", None, only=("distillation",))
    from_teacher: bool = key(
        "start from the teacher's weights, of its blocks those at even distances", False, only=("distillation",)
    )
    temperature: float = key(
        "softens what teacher and student say before they are compared", 2.0, above=0, high=100, only=("distillation",)
    )
    teacher_weight: float = key("weight of the teacher's probabilities", 5.0, low=0, high=1e4, only=("distillation",))
    truth_weight: float = key("weight of the text itself", 2.0, low=0, high=1e4, only=("distillation",))
    hidden_weight: float = key(
        "weight of the direction of the last hidden states", 1.0, low=0, high=1e4, only=("distillation",)
    )
    across_documents: bool = key(
        "whether a token may attend to an earlier document in the same example", True, only=("causal", "prefix")
    )
    dropout: float | None = key(
        "share of values set to 0 in the model while it learns; null: as the base has it",
        None,
        low=0,
        high=0.9,
        only=("classify",),
    )
    label_smoothing: float = key("share of the target probability spread over all other answers", 0.0, low=0, high=0.9)
    balance_weight: float | None = key(
        "models with routers: weight of keeping experts equally busy; null: as the model's own settings say",
        None,
        low=0,
        high=1e3,
    )
    z_weight: float | None = key(
        "models with routers: weight of keeping routers' scores small; null: as the model's own settings say",
        None,
        low=0,
        high=1e3,
    )

    @property
    def rate(self) -> float:
        """Share to hide: mask_rate, or what the paper took."""
        return TASKS[self.name].rate if self.mask_rate is None else self.mask_rate


@dataclass(frozen=True)
class TrainSettings:
    """The training loop: how long, how fast, and what to write down on the way."""

    steps: int = key("optimizer steps in the whole run", 1000, low=1, high=10**10)
    batch_size: int = key("examples in one forward pass", 16, low=1, high=2**20)
    seq_len: int = key("tokens in one example, at most model.max_seq_len", 128, low=2, high=2**24)
    accumulate: int = key("batches whose gradients are added up before one step", 1, low=1, high=2**16)
    optimizer: str = key("rule that turns gradients into steps", "adamw", choices=("adamw", "muon"))
    lr: float = key("learning rate at its highest", 1e-3, above=0, high=100)
    min_lr: float = key("learning rate at the end, as a share of lr", 0.0, low=0, high=1)
    schedule: str = key(
        "shape of the learning rate after warm-up",
        "cosine",
        choices=("cosine", "linear", "constant", "wsd", "inverse_sqrt"),
    )
    warmup_steps: int = key("steps over which the learning rate rises from 0 to lr", 0, low=0, high=10**10)
    weight_decay: float = key("pull of the weight matrices towards 0", 0.01, low=0, high=10)
    beta1: float = key("adamw: memory of the gradient's mean", 0.9, low=0, high=0.9999999)
    beta2: float = key("adamw: memory of the gradient's square", 0.999, low=0, high=0.9999999)
    momentum: float = key("muon: memory of the gradient's mean; lower in a short run", 0.95, low=0, high=0.9999999)
    rest_lr: float = key(
        "muon: learning rate of what it leaves to AdamW (embeddings, output layer, norms, biases), in multiples of lr",
        1.0,
        above=0,
        high=1000,
    )
    eps: float = key("adamw: keeps divisions away from 0", 1e-8, above=0, high=1)
    clip: float = key("largest norm of all gradients together; 0 switches clipping off", 1.0, low=0, high=10**6)
    nonfinite: str = key(
        "what to do when a loss or gradient is not finite: stop, or skip the step and go on",
        "stop",
        choices=("stop", "skip"),
    )
    max_skips: int = key("steps in a row that may be skipped before the run stops after all", 3, low=1, high=10**6)
    dtype: str = key(
        "number format of the matrix products; auto: bfloat16 where the hardware multiplies it, else float32",
        "float32",
        choices=("float32", "bfloat16", "auto"),
    )
    compile: bool = key(
        "compile the blocks (torch.compile): 10 s or more before the first step; then, on a processor, 1.05 times as "
        "fast in bfloat16, but slower in float32",
        False,
    )
    seed: int = key("seed of the weights, the order of the data and every other draw", 0, low=0, high=2**63 - 1)
    log_every: int = key("steps between two lines of the log", 10, low=1, high=10**10)
    eval_every: int = key("steps between two validations; 0: only at the end", 100, low=0, high=10**10)
    eval_batches: int = key("batches in one validation; 0: all of them", 0, low=0, high=10**10)
    save_every: int = key("steps between two checkpoints; 0: only at the end", 100, low=0, high=10**10)
    keep: int = key("checkpoints to keep; older ones are removed", 2, low=1, high=10**6)
    sample_every: int = key("steps between two samples of what the model says; 0: none", 0, low=0, high=10**10)
    sample_prompt: str | None = key("text the samples start from, or with [MASK], fill in", None)
    parallel: str = key(
        "with several processes: ddp copies the model to each, fsdp gives each a part of it",
        "ddp",
        choices=("ddp", "fsdp"),
    )
    threads: int = key("processor threads; 0: as many as there are cores", 0, low=0, high=4096)
    tensorboard: bool = key("also write what the log says as TensorBoard files, to tb in the run's directory", False)
    device: str = key(
        "where to compute: auto (the best there is), cpu, cuda, cuda:1 or mps",
        "auto",
        pattern=r"auto|cpu|cuda(:\d{1,3})?|mps",
    )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run, described in full.

    Pre-training has `model` and `tokenizer`; fine-tuning has neither, and `base` names the checkpoint to start from
    (None: the newest one in the store that fits). `is_finetune` tells them apart.
    `source` is the file or built-in it came from; `origins` maps each dotted key to where its value came from.
    Neither is part of what makes two recipes equal.
    """

    name: str = key("name of the run's directory in the store", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
    objective: ObjectiveSettings
    base: str | None = key("fine-tuning: checkpoint to start from; null takes the newest that fits", None)
    model: ModelSettings | None = None
    tokenizer: TokenizerSettings | None = None
    data: DataSettings = field(default_factory=DataSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    source: str = field(default="", compare=False)
    origins: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_finetune(self) -> bool:
        """Whether this recipe adapts a checkpoint instead of drawing random weights."""
        return self.model is None


# In the order in which a recipe is read and written.
SECTIONS: dict[str, type] = {
    "model": ModelSettings,
    "tokenizer": TokenizerSettings,
    "data": DataSettings,
    "objective": ObjectiveSettings,
    "train": TrainSettings,
}
# Facts about the text and the task that the model section must not repeat: they are known only later.
NOT_MODEL_KEYS = frozenset({"vocab_size", "head", "labels", "pad_id", "bos_id", "eos_id", "extra_eos_ids", "prefix_lm"})
