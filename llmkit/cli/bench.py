"""`llmkit bench`: rates with their spread, this machine's own limit beside them, and what changed since a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from llmkit.cli.options import Device, Json, Quiet, Store

if TYPE_CHECKING:
    from llmkit.cli.output import Output
    from llmkit.measurement.compare import Change
    from llmkit.measurement.result import Result, Shape

_QUICK_BUDGET, _BUDGET = 6.0, 20.0


def bench(
    what: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="tokenize, train-bpe, train, generate or load [default: all, quickly].", metavar="WHAT"),
    ] = None,
    model: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--model", "-m", help="Measure this model [default: a random one].", metavar="REF"),
    ] = None,
    shape: Annotated[
        str,
        typer.Option("--shape", help="Of the random model: layers x width x context x vocabulary.", metavar="LxWxCxV"),
    ] = "6x384x256x8192",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Examples in a training step.", metavar="N")
    ] = 4,
    trials: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--trials", min=1, help="Timed rounds [default: 7, fewer where they take long].", metavar="N"),
    ] = None,
    baseline: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--baseline", help="Compare with what --json wrote earlier.", metavar="FILE"),
    ] = None,
    fail_over: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--fail-over", help="Exit 3 if anything is slower by more than this.", metavar="5%"),
    ] = None,
    store: Store = None,
    device: Device = "cpu",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure speed: median and p10 to p90 of several trials, memory, and the share of what this machine can do.

    \b
    llmkit bench                       everything, quickly
    llmkit bench train --trials 15     training steps in float32 and bfloat16
    llmkit bench --json > before.json  results to compare with later
    llmkit bench --baseline before.json --fail-over 5%
    """
    from llmkit.cli.models import find_model
    from llmkit.cli.output import Output
    from llmkit.errors import CheckFailed, UsageError
    from llmkit.measurement.compare import compare, parse_percent, read_baseline
    from llmkit.measurement.machine import describe_machine
    from llmkit.measurement.result import SCHEMA, Plan
    from llmkit.measurement.suite import WHAT, measure

    threshold = parse_percent(fail_over) if fail_over is not None else None
    if threshold is not None and baseline is None:
        raise UsageError("--fail-over needs something to compare with", "add --baseline FILE")
    before, machine_before = read_baseline(baseline) if baseline is not None else ({}, {})
    if what is not None and what not in WHAT:
        measure_nothing = measure(what, Plan())
        next(measure_nothing)  # says what there is
    from llmkit.checkpoint.refs import default_store

    out = Output(as_json=json, quiet=quiet)
    plan = Plan(
        trials=trials or 7,
        budget=float("inf") if trials else _BUDGET if what else _QUICK_BUDGET,
        model=find_model(model, default_store(store)) if model is not None else None,
        shape=_shape(shape, batch_size),
        device=_device(device),
        notice=out.note,
    )
    results: list[Result] = []
    for name in [what] if what else WHAT:
        for result in measure(name, plan):
            results.append(result)
            if not (out.is_terminal or json):
                out.records([_record(result, compare([result], before).get(result.name))])
    changes = compare(results, before)
    machine = describe_machine(plan.device)
    regressions = [c for c in changes.values() if threshold is not None and c.is_regression(threshold)]
    if json:
        body: dict[str, Any] = {
            "schema": SCHEMA, "machine": machine, "results": [r.as_json() for r in results],
        }  # fmt: skip
        if baseline is not None:
            body["changes"] = {name: {"ratio": c.ratio, "is_clear": c.is_clear} for name, c in changes.items()}
            body["regressions"] = [c.name for c in regressions]
        out.object(body)
    elif out.is_terminal:
        _draw(results, changes, machine, out)
    _warn_about(machine, machine_before, baseline, [r.name for r in results if r.name not in changes], changes, out)
    if threshold is not None and not changes:
        # A gate that compared nothing must not open.
        raise CheckFailed(
            f"nothing was compared: {baseline} holds none of the cases measured now",
            "write it anew with the same WHAT: llmkit bench WHAT --json > FILE",
        )
    if regressions:
        worst = min(regressions, key=lambda c: c.ratio)
        more = f", and {len(regressions) - 1} more" if len(regressions) > 1 else ""
        raise CheckFailed(f"{worst.name} is {-worst.ratio:.1%} slower than the baseline{more}")


def _shape(text: str, batch: int) -> Shape:
    from llmkit.errors import UsageError
    from llmkit.measurement.result import Shape

    parts = text.lower().split("x")
    if len(parts) != 4 or not all(p.isdigit() and 0 < int(p) <= 2**20 for p in parts):
        raise UsageError(f"--shape is {text!r}", "give layers x width x context x vocabulary, such as 6x384x256x8192")
    layers, width, context, vocab = (int(p) for p in parts)
    return Shape(layers, width, context, vocab, batch)


def _device(asked: str) -> str:
    from llmkit.training.device import choose_device

    return "cpu" if asked == "cpu" else str(choose_device(asked))


def _record(result: Result, change: Change | None) -> tuple[object, ...]:
    """what, case, median, p10, p90, unit, limit, share, peak bytes, change: one line in a pipe; - for unknown."""
    known = [f"{v:.6g}" for v in (result.median, result.low, result.high)]
    limit, share = ("-" if v is None else f"{v:.6g}" for v in (result.limit, result.share))
    peak = result.peak_bytes if result.peak_bytes is not None else "-"
    moved = f"{change.ratio:+.4f}" if change else "-"
    return (result.what, result.case, *known, f"{result.unit}/s", limit, share, peak, moved)


def _draw(results: list[Result], changes: dict[str, Change], machine: dict[str, Any], out: Output) -> None:
    from rich.text import Text

    from llmkit.render.bench_table import Row, bench_lines

    rows = []
    for r in results:
        change = changes.get(r.name)
        moved = (change.ratio, change.is_clear) if change else None
        rows.append(Row(r.name, r.unit, r.median, r.low, r.high, r.share, r.limit_name, r.peak_bytes, moved))
    threads = machine["threads"] or machine["cores"]
    place = f"{machine['cpu']}, {threads} thread{'s' * (threads != 1)}, torch {machine['torch']}"
    out.draw([*bench_lines(rows, out.width), Text(""), Text(place[: out.width], "dim")])


def _warn_about(
    machine: dict[str, Any],
    machine_before: dict[str, Any],
    baseline: Path | None,
    missing: list[str],
    changes: dict[str, Change],
    out: Output,
) -> None:
    differing = [
        k
        for k in ("cpu", "cores", "threads", "device", "torch")
        if k in machine_before and machine_before[k] != machine[k]
    ]
    if differing:
        out.note(f"warning: the baseline was measured with another {', '.join(differing)}")
    if baseline is not None and not changes:
        out.note("warning: the baseline has none of the cases measured now")
    elif baseline is not None and missing:
        out.note(f"warning: not in the baseline, so not compared: {', '.join(missing)}")
