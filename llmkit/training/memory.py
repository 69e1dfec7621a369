"""How much memory training takes, and how much there is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch

from llmkit.errors import OutOfMemory
from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of
from llmkit.recipe.schema import SINGLE, ObjectiveSettings, TrainSettings
from llmkit.training.muon import hidden_matrices
from llmkit.units import size

FLOAT = 4
_LOGIT_COPIES = 3  # logits, their softmax, their gradient
# On a processor the process is larger than its tensors: measured, by a sixth of what comes and goes (holes between
# blocks), and by what libraries keep for themselves.
HOLES, LIBRARIES = 1 / 6, 64_000_000
# What is only guessed may be wrong by a factor of two, and must not refuse what fits.
TRUST = 0.5


@dataclass(frozen=True)
class Need:
    """Bytes while training, by part, and parameters. other: what the process takes beyond its tensors."""

    parameters: int
    embedding_parameters: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    other: int = 0

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.other

    @property
    def lasting(self) -> int:
        """What is there all the time, known exactly."""
        return self.weights + self.gradients + self.optimizer

    @property
    def checkpoint(self) -> int:
        """Bytes of one checkpoint on disk: weights and optimizer state."""
        return self.weights + self.optimizer

    def sum(self) -> str:
        """The parts in words."""
        other = f", other {size(self.other)}" if self.other else ""
        return (
            f"weights {size(self.weights)}, gradients {size(self.gradients)}, optimizer {size(self.optimizer)}, "
            f"activations {size(self.activations)}{other}"
        )


@dataclass(frozen=True)
class Footprint:
    """Memory as a function of the batch, from measured steps.

    lasting: weights, gradients and optimizer state. fixed, per_example: bytes that come and go in one forward and
    backward pass, gradients aside. scratch: what the optimizer needs during its step. on_host: on the processor.
    """

    lasting: Need
    fixed: float
    per_example: float
    scratch: int
    on_host: bool

    def need(self, batch_size: int, accumulate: int) -> Need:
        """What a step of `accumulate` passes over `batch_size` examples takes at its largest moment."""
        n = self.lasting
        passing = int(self.fixed + self.per_example * batch_size)
        # The gradients of earlier passes stay while a later one runs; those of a single one come as activations go.
        beyond = passing if accumulate > 1 else passing - n.gradients
        activations = max(beyond, int(self.fixed), self.scratch, 0)
        other = int(HOLES * (n.gradients + activations) + LIBRARIES) if self.on_host else 0
        return Need(n.parameters, n.embedding_parameters, n.weights, n.gradients, n.optimizer, activations, other)


def divisors(n: int) -> list[int]:
    """All whole numbers that divide `n`, rising."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return small + [n // d for d in reversed(small) if d * d != n]


def estimate(config: ModelConfig, train: TrainSettings, objective: ObjectiveSettings) -> Need:
    """What training this model takes, without making it. Activations are a guess: within a factor of two, mostly."""
    with torch.device("meta"):
        model = family_of(config).build(config)
    n = sum(p.numel() for p in model.parameters())
    in_muon = sum(p.numel() for p in hidden_matrices(model).values()) if train.optimizer == "muon" else 0
    return Need(
        parameters=n,
        embedding_parameters=model.embedding_weight.numel(),
        weights=n * FLOAT,
        gradients=n * FLOAT,
        optimizer=(2 * n - in_muon) * FLOAT,
        activations=activations(config, train, objective),
    )


def activations(config: ModelConfig, train: TrainSettings, objective: ObjectiveSettings) -> int:
    """Bytes kept for the backward pass of one micro-batch: what each block and the output layer remember."""
    tokens = train.batch_size * train.seq_len
    attention = config.n_heads * config.head_dim + 2 * config.n_kv_heads * config.head_dim
    per_layer = 6 * config.d_model + 2 * attention + 3 * config.d_ff
    layers = config.n_layers + getattr(config, "n_decoder_layers", 0)
    targets = 0 if objective.name == "classify" else tokens * (objective.rate if objective.name in SINGLE else 1)
    logits = _LOGIT_COPIES * targets * config.vocab_size
    return int(FLOAT * (tokens * layers * per_layer + logits))


def available(device: torch.device) -> int | None:
    """Bytes that a new process could use on `device`; None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [bytes_ for bytes_ in (_host_available(), _cgroup_room()) if bytes_ is not None]
    return min(found, default=None)


def refuse_what_cannot_fit(
    need: Need, device: torch.device, fix: Callable[[], str | None] = lambda: None, *, is_measured: bool = False
) -> None:
    """Raise OutOfMemory, with the sum by part, before anything large is made.

    fix: finds what would fit, when asked. is_measured: activations are no guess.
    """
    have = available(device)
    if have is not None and (need.total if is_measured else need.lasting + TRUST * need.activations) > have:
        raise OutOfMemory(
            f"training {need.parameters:,} parameters needs about {size(need.total)} of memory "
            f"({need.sum()}); {size(have)} are free",
            fix() or "lower train.batch_size and raise train.accumulate, or let --auto-batch do so",
        )


def _host_available() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _cgroup_room() -> int | None:
    """What the container may still take, where there is a limit."""
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as limit:
            most = limit.read().strip()
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as used:
            taken = int(used.read())
        with open("/sys/fs/cgroup/memory.stat", encoding="ascii") as parts:
            # Files read a while ago count as used, and make room when it is needed.
            kinds = dict(line.split() for line in parts)
            taken -= sum(int(kinds.get(kind, 0)) for kind in ("inactive_file", "slab_reclaimable"))
        return None if most == "max" else max(0, int(most) - taken)
    except (OSError, ValueError):
        return None
