"""What a training run tells its listeners. No torch here: the command line and the panel read these too."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

SCHEMA = "llmkit/train/1"


@dataclass(frozen=True)
class Event:
    """Something that happened at `step`, the number of optimizer steps done so far."""

    kind: ClassVar[str] = "event"
    step: int


@dataclass(frozen=True)
class Start(Event):
    """The loop is about to run, from random weights (step 0) or from a checkpoint.

    model: what is trained: the family of a model from random weights, the checkpoint that fine-tuning started from.
    flops_per_token: operations, see training.flops; 0 if unknown. limit_flops: what the machine does in a second at
    best, None if unknown.
    """

    kind: ClassVar[str] = "start"
    run: str
    steps: int
    parameters: int
    examples_per_step: int
    tokens_per_step: int
    device: str
    threads: int
    examples: int
    model: str = ""
    processes: int = 1
    flops_per_token: float = 0.0
    limit_flops: float | None = None


@dataclass(frozen=True)
class Step(Event):
    """One optimizer step. `loss` is the mean over the steps since the last such event, and so are the rates.

    tokens, seconds: of training so far, in all sessions of the run; validating and saving do not count. utilisation:
    share of the machine's measured limit, None if unknown.
    """

    kind: ClassVar[str] = "step"
    loss: float
    parts: Mapping[str, float]
    lr: float
    grad_norm: float
    tokens: int
    tokens_per_second: float
    examples_per_second: float
    seconds: float
    utilisation: float | None = None


@dataclass(frozen=True)
class Evaluation(Event):
    """Scores on the validation data; `better` when it is the best so far."""

    kind: ClassVar[str] = "eval"
    scores: Mapping[str, float]
    seconds: float
    better: bool = False


@dataclass(frozen=True)
class Sample(Event):
    """What the model says now: `prompt` was given, `text` is its answer."""

    kind: ClassVar[str] = "sample"
    prompt: str
    text: str


@dataclass(frozen=True)
class Saved(Event):
    """A checkpoint is on disk and verified."""

    kind: ClassVar[str] = "checkpoint"
    path: str
    size: int
    seconds: float


@dataclass(frozen=True)
class Stage(Event):
    """From the next step on the examples are of another kind: the loss is not comparable with that before."""

    kind: ClassVar[str] = "stage"
    stage: int


@dataclass(frozen=True)
class Warned(Event):
    """Something the user should know that does not stop the run."""

    kind: ClassVar[str] = "warning"
    message: str


@dataclass(frozen=True)
class Skipped(Event):
    """The step with index `step` was left out: a number in it was not finite. reason: which; where: the first such.

    skipped: steps left out so far.
    """

    kind: ClassVar[str] = "skip"
    reason: str
    where: str
    skipped: int


@dataclass(frozen=True)
class End(Event):
    """The loop is over: `reason` is finished, stopped or diverged."""

    kind: ClassVar[str] = "end"
    reason: str
    seconds: float
    scores: Mapping[str, float] = field(default_factory=dict)


Listener = Callable[[Event], None]


def to_record(event: Event) -> dict[str, Any]:
    """`event` as a JSON object: numbers are numbers, and one that is not finite becomes null plus a mark.

    What is unknown is left out.
    """
    record: dict[str, Any] = {"event": event.kind}
    for f in fields(event):
        value = getattr(event, f.name)
        if isinstance(value, Mapping):
            record.update({str(k): v for k, v in value.items()})
        elif value is not None:
            record[f.name] = value
    bad = [k for k, v in record.items() if isinstance(v, float) and not math.isfinite(v)]
    if bad:
        record.update(dict.fromkeys(bad), nonfinite=True)
    return record
