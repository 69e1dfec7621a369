"""Opening a checkpoint, beside reading the same bytes into memory. Files are warm: they come from the page cache."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmkit.measurement.limits import sync
from llmkit.measurement.memory import peak_bytes
from llmkit.measurement.result import Plan, Result, rated
from llmkit.measurement.samples import describe, model_for
from llmkit.measurement.timing import interleaved
from llmkit.units import size


def measure(plan: Plan) -> Iterator[Result]:
    """GB per second into a ready model (digests of a manifest, where there is one, included), and headers alone."""
    if plan.model is not None:
        yield from _measure(plan, plan.model)
        return
    from llmkit.checkpoint.hf_layout import write_model

    with tempfile.TemporaryDirectory(prefix="llmkit-bench-") as scratch:
        directory = Path(scratch) / "model"
        directory.mkdir()
        write_model(directory, model_for(plan))
        yield from _measure(plan, directory)


def _measure(plan: Plan, directory: Path) -> Iterator[Result]:
    from llmkit.checkpoint.hf_layout import read_model
    from llmkit.checkpoint.shards import list_tensors

    tensors = list_tensors(directory)
    files = sorted({t.file for t in tensors.values()})
    n_bytes = sum(path.stat().st_size for path in files)
    buffer = bytearray(max(path.stat().st_size for path in files))

    def load() -> None:
        read_model(directory, device=plan.device)
        sync(plan.device)

    def headers() -> None:
        list_tensors(directory)

    def read() -> None:
        for path in files:
            with path.open("rb", buffering=0) as file:
                file.readinto(buffer)

    plan.notice(f"load: {describe(plan, read_model(directory))}, {size(n_bytes)}")
    times = interleaved({"load": load, "headers": headers, "read": read}, trials=plan.trials, budget=plan.budget)
    yield rated(
        "load", "model", "GB", n_bytes / 1e9, times["load"], limit=n_bytes / 1e9 / times["read"].best,
        limit_name="reading the file", peak_bytes=peak_bytes(load, plan.device),
        detail={"seconds": times["load"].median, "file_bytes": float(n_bytes)},
    )  # fmt: skip
    yield rated(
        "load", "headers", "tensor", len(tensors), times["headers"], detail={"seconds": times["headers"].median}
    )
