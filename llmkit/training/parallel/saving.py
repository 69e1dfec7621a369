"""A checkpoint that all processes write together: each its part of the tensors, the first one everything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmkit.checkpoint.files import fsync_file
from llmkit.checkpoint.hf_layout import shard_name, stored_part, write_index, write_settings
from llmkit.checkpoint.manifest import FileRecord, measure
from llmkit.checkpoint.state import part_name
from llmkit.checkpoint.tensors import write_tensors
from llmkit.training.parallel.cut import Cut


@dataclass
class Share:
    """What one process writes: whole tensors in the memory of the host, under the names they have in the files.

    shard, part: number among how many files of weights and of state; None where there are fewer tensors than processes.
    """

    weights: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    part: tuple[int, int] | None = None


def gather_share(spread: Cut, model: Any, state: Mapping[str, tuple[str | None, Tensor]]) -> Share:
    """This process's share of the weights and of the state; all call it, tensor by tensor they put them together.

    state: name -> (the parameter whose rows it has, None when it is whole already, the tensor).
    """
    share = Share()
    named = {name: spread.names[id(p)] for name, p in model.named_parameters()}
    owners = _owners([_n_bytes(spread, own, spread.rows[own]) for own in named.values()], spread.world.size)
    mine = {}
    for (name, own), owner in zip(named.items(), owners, strict=True):
        (whole,) = spread.whole([own], [spread.rows[own].to_local()])
        if owner == spread.world.rank:
            mine[name] = whole.cpu()
    share.weights = stored_part(model.config, mine, is_first=spread.world.is_first)
    share.shard = _number(owners, spread.world.rank)

    owners = _owners([_n_bytes(spread, own, tensor) for own, tensor in state.values()], spread.world.size)
    for (name, (parameter, tensor)), owner in zip(state.items(), owners, strict=True):
        whole = tensor if parameter is None else spread.whole([parameter], [tensor])[0]
        if owner == spread.world.rank:
            share.state[name] = whole.detach().cpu()
    share.part = _number(owners, spread.world.rank)
    return share


def write_share(directory: Path, share: Share) -> dict[str, Any]:
    """Write this process's files into `directory` and make them durable; returns what to tell the first process."""
    names = []
    if share.shard is not None:
        names.append(shard_name(*share.shard))
        write_tensors(directory / names[-1], share.weights, {"format": "pt"})
    if share.part is not None:
        names.append(part_name(*share.part))
        write_tensors(directory / names[-1], share.state, {"format": "pt"})
    for name in names:
        fsync_file(directory / name)
    return {
        "files": {name: [r.size, r.sha256] for name, r in measure(directory, names).items()},
        "weights": list(share.weights),
        "bytes": sum(t.numel() * t.element_size() for t in share.weights.values()),
        "shard": shard_name(*share.shard) if share.shard is not None else None,
    }


def write_together(spread: Cut, share: Share, directory: Path) -> list[dict[str, Any]]:
    """Every process's `write_share`, and what each tells. Fails on all of them when one fails."""
    told: dict[str, Any] = {}
    with spread.world.together():
        told = write_share(directory, share)
    return spread.world.exchange(told)


def write_rest(directory: Path, model: Any, told: Sequence[Mapping[str, Any]]) -> dict[str, FileRecord]:
    """What the first process adds to the weights of all: configuration and index; returns the records of all files."""
    write_settings(directory, model.config, torch.float32)
    placement = {tensor: t["shard"] for t in told for tensor in t["weights"]}
    write_index(directory, placement, sum(t["bytes"] for t in told))
    return {name: FileRecord(size, digest) for t in told for name, (size, digest) in t["files"].items()}


def _n_bytes(spread: Cut, name: str | None, tensor: Tensor) -> int:
    n = tensor.numel() if name is None else torch.Size(spread.shapes[name]).numel()
    return n * tensor.element_size()


def _owners(sizes: Sequence[int], count: int) -> list[int]:
    """Which of `count` processes writes each of some tensors in a row: about as many bytes each."""
    owners: list[int] = []
    total, before = max(1, sum(sizes)), 0
    for size in sizes:
        owners.append(min(count - 1, (before + size // 2) * count // total) if owners else 0)
        before += size
    return owners


def _number(owners: Sequence[int], rank: int) -> tuple[int, int] | None:
    """Number of a process's file, from 1, among how many: processes that own nothing write none."""
    writers = sorted(set(owners))
    return (writers.index(rank) + 1, len(writers)) if rank in writers else None
