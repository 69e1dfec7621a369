"""How much memory training takes, from the model's sizes alone, and how much there is."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from llmkit.errors import OutOfMemory
from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of
from llmkit.recipe.schema import SINGLE, ObjectiveSettings, TrainSettings
from llmkit.training.muon import hidden_matrices
from llmkit.units import size

FLOAT = 4
# Of a masked example, the part whose logits are computed is what is predicted; of a causal one, all of it.
_LOGIT_COPIES = 3  # logits, their softmax, their gradient


@dataclass(frozen=True)
class Need:
    """Bytes while training, by part, and parameters."""

    parameters: int
    embedding_parameters: int
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def lasting(self) -> int:
        """What is there all the time, known exactly."""
        return self.weights + self.gradients + self.optimizer

    @property
    def checkpoint(self) -> int:
        """Bytes of one checkpoint on disk: weights and optimizer state."""
        return self.weights + self.optimizer


def estimate(config: ModelConfig, train: TrainSettings, objective: ObjectiveSettings) -> Need:
    """What training this model takes. Weights, gradients and optimizer are exact, activations are about right."""
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
    targets = 0 if objective.name == "classify" else tokens * (objective.rate if objective.name in SINGLE else 1)
    logits = _LOGIT_COPIES * targets * config.vocab_size
    return int(FLOAT * (tokens * config.n_layers * per_layer + logits))


def available(device: torch.device) -> int | None:
    """Bytes that a new process could use on `device`; None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [bytes_ for bytes_ in (_host_available(), _cgroup_room()) if bytes_ is not None]
    return min(found, default=None)


def refuse_what_cannot_fit(need: Need, device: torch.device, *, with_activations: bool = True) -> None:
    """Raise OutOfMemory, with the sum, before anything large is made; activations are an estimate and may stay out."""
    have = available(device)
    if have is not None and (need.total if with_activations else need.lasting) > have:
        raise OutOfMemory(
            f"training {need.parameters:,} parameters needs about {size(need.total)} of memory "
            f"(weights {size(need.weights)}, gradients {size(need.gradients)}, optimizer "
            f"{size(need.optimizer)}, activations {size(need.activations)}); {size(have)} are free",
            "make the model smaller, or lower train.batch_size and raise train.accumulate",
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
            return None if most == "max" else max(0, int(most) - int(used.read()))
    except (OSError, ValueError):
        return None
