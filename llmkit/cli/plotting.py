"""`pretrain --plot` and `finetune --plot`: draw what runs have learned, finished or not, beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from llmkit.cli.output import Output
    from llmkit.render.curves import Curve
    from llmkit.render.table import Cell
    from llmkit.training.history import History, Point

SCHEMA = "llmkit/plot/1"

Plot = Annotated[
    bool, typer.Option("--plot", help="Draw the curves of runs, also going ones; RECIPE is then a run or a file.")
]
Svg = Annotated[
    Optional[Path],  # noqa: UP045  # Typer evaluates this on Python 3.10
    typer.Option("--svg", help="With --plot: write the picture to this file.", metavar="FILE"),
]
Across = Annotated[str, typer.Option("--x", help="With --plot, against: steps, tokens or seconds.", metavar="UNIT")]
Upwards = Annotated[str, typer.Option("--y", help="With --plot: a number of the log, such as lr.", metavar="NAME")]

_UNITS = {"steps": "step", "tokens": "tokens", "seconds": "seconds"}
_TITLES = {"steps": "steps", "tokens": "tokens", "seconds": "time spent training"}
_LONGEST_TITLE = 72
_MOST_ROWS, _FEWEST_ROWS = 20, 8


def plot_runs(
    refs: Sequence[str],
    *,
    run: str | None,
    sweep: Sequence[str] | None,
    store: Path | None,
    svg: Path | None,
    x: str,
    y: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw the histories that `refs` name: on a terminal as curves, in a pipe as rows, with `svg` into a file too.

    run: a name that stands for the recipe's own. sweep: draw the runs of this sweep of the recipe.
    """
    from llmkit.checkpoint.refs import default_store
    from llmkit.cli.histories import find_log, newest_log, swept, told_apart
    from llmkit.cli.output import Output, refuse_overwriting
    from llmkit.errors import UsageError
    from llmkit.suggest import did_you_mean
    from llmkit.training.history import read_histories

    if x not in _UNITS:
        raise UsageError(f"--x is {x!r}", did_you_mean(x, _UNITS) or f"use {', '.join(_UNITS)}")
    root = default_store(store)
    out = Output(as_json=as_json, quiet=quiet, svg=svg)
    if run and len(refs) > 1:
        raise UsageError(f"--run {run} beside {len(refs)} runs", "leave --run out, and name them all")
    refs = [run] if run else refs
    if sweep:
        refs = swept(refs, sweep, root)
    elif not refs:
        refs = [newest_log(root)]
        out.note(f"the newest run: {refs[0]}")
    places = [find_log(ref, root) for ref in refs]
    if svg is not None:
        refuse_overwriting(svg, places)
    histories = told_apart([h for place in places for h in read_histories(place)])
    _refuse_unknown(y, x, histories)
    if svg is not None:
        out.write_svg(_picture(histories, x, y))
    if as_json:
        out.object({"schema": SCHEMA, "x": x, "y": y, "runs": [_as_json(h) for h in histories]})
    elif out.is_terminal:
        _draw(histories, x, y, out)
    elif svg is None:
        out.records([("run", "step", "tokens", "seconds", y, "validation")])
        for history in histories:
            out.records(_rows(history, y))


def _refuse_unknown(y: str, x: str, histories: Sequence[History]) -> None:
    from llmkit.errors import UsageError
    from llmkit.suggest import did_you_mean

    known = {name for h in histories for p in (*h.points, *h.validation) for name in p.values}
    if known and y not in known:
        raise UsageError(
            f"no run has a number {y!r}", did_you_mean(y, known) or f"there are {', '.join(sorted(known))}"
        )
    if not any(_pairs(part, x, y) for h in histories for part in (h.points, h.validation)):
        what = "nothing yet" if not known else f"no {x}"
        raise UsageError(f"these logs say {what} to draw", "wait for the first steps" if not known else "--x steps")


def _pairs(points: Sequence[Point], x: str, y: str) -> list[tuple[float, float]]:
    found = ((getattr(p, _UNITS[x]), p.values.get(y)) for p in points)
    return sorted((a, b) for a, b in found if a is not None and b is not None)


def _curve(history: History, x: str, y: str) -> Curve:
    from llmkit.render.curves import Curve

    at = {p.step: getattr(p, _UNITS[x]) for p in history.points}
    breaks = [at[max(s for s in at if s <= stage)] for stage in history.stages if any(s <= stage for s in at)]
    drawn = [b for b in breaks if b is not None]
    return Curve(history.name, _pairs(history.points, x, y), _pairs(history.validation, x, y), drawn)


def _rows(history: History, y: str) -> list[tuple[object, ...]]:
    """run, step, tokens, seconds, the number, its validation: `-` never stands for a number, an empty cell does."""
    held_out = {p.step: p for p in history.validation}
    known = {p.step: p for p in (*history.validation, *history.points)}
    logged = {p.step for p in history.points}
    rows: list[tuple[object, ...]] = []
    for step in sorted(known):
        point = known[step]
        value = point.values.get(y) if step in logged else None
        score = held_out[step].values.get(y) if step in held_out else None
        if value is not None or score is not None:
            rows.append((history.name, *map(_cell, (step, point.tokens, point.seconds, value, score))))
    return rows


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.8g}" if value != int(value) else str(int(value))


def _as_json(history: History) -> dict[str, Any]:
    def plain(point: Point) -> dict[str, Any]:
        step = int(point.step) if point.step == int(point.step) else point.step
        return {"step": step, "tokens": point.tokens, "seconds": point.seconds, **point.values}

    best = history.best
    return {
        "run": history.name,
        "path": str(history.path),
        "steps": history.steps,
        "end": history.end or None,
        "points": [plain(p) for p in history.points],
        "validation": [plain(p) for p in history.validation],
        "best": plain(best) if best else None,
    }


def _picture(histories: Sequence[History], x: str, y: str) -> str:
    from llmkit.render.curves_svg import curves_svg

    words = y.replace("_", " ")
    title = ", ".join(h.name for h in histories)
    title = title if len(title) <= _LONGEST_TITLE else f"{len(histories)} runs"
    curves = [_curve(h, x, y) for h in histories]
    subtitle = f"{words} in training: each line of the log (faint) and their mean"
    if not any(curve.train for curve in curves):
        subtitle = f"{words} on validation data"
    elif any(curve.validation for curve in curves):
        subtitle += "; marks: on validation data"
    return curves_svg(curves, title=title, subtitle=subtitle, kind=x, x_title=_TITLES[x])


def _draw(histories: Sequence[History], x: str, y: str, out: Output) -> None:
    import os
    import sys

    from rich.text import Text

    from llmkit.render.curves_terminal import COLORS, letter_of, mark_of, plot_lines

    try:
        room = os.get_terminal_size(sys.stdout.fileno()).lines - len(histories) - 6
    except OSError:
        room = _MOST_ROWS
    rows = max(_FEWEST_ROWS, min(_MOST_ROWS, room))
    colored = out.palette != "none"
    curves = [_curve(h, x, y) for h in histories]
    out.draw([Text(f"{y.replace('_', ' ')} against {_TITLES[x]}", "bold")])
    out.draw(plot_lines(curves, out.width, rows, kind=x, colored=colored))
    signs = []
    for run in range(len(histories)):
        letter = "" if colored or len(histories) == 1 else f"{letter_of(run)} "
        signs.append(Text(f"{letter}{mark_of(run)}", COLORS[run % len(COLORS)] if colored else ""))
    _legend(histories, signs, x, y, out)


def _legend(histories: Sequence[History], signs: Sequence[Any], x: str, y: str, out: Output) -> None:
    from rich.text import Text

    from llmkit.render.safe_text import safe_line
    from llmkit.render.table import Column
    from llmkit.units import clock, count

    right: Callable[[str, int], Column] = lambda title, keep: Column(title, is_right=True, keep=keep)
    columns = [
        Column("run"), right("steps", 6), right(y.replace("_", " "), 9), right("validation", 8), right("best", 7),
        right("at step", 5), right("tokens", 3), right("time", 4), Column("", keep=2),
    ]  # fmt: skip
    rows: list[list[Cell]] = []
    for history, sign in zip(histories, signs, strict=True):
        last, best = history.points[-1] if history.points else None, history.best
        level = history.level(y) if y.endswith("loss") else last.values.get(y) if last else None
        scores = [p.values[y] for p in history.validation if y in p.values]
        name = Text.assemble(sign, " ", safe_line(history.name))
        planned = f" of {history.steps:,}" if history.steps and history.steps != history.last_step else ""
        rows.append([
            name,
            f"{history.last_step:,.0f}{planned}",
            "" if level is None else f"{level:.4g}",
            f"{scores[-1]:.4g}" if scores else "",
            f"{best.values[y]:.4g}" if best and y in best.values else "",
            f"{best.step:,.0f}" if best and y in best.values else "",
            count(last.tokens) if last and last.tokens else "",
            clock(last.seconds) if last and last.seconds else "",
            history.end if history.end != "finished" else "",
        ])  # fmt: skip
    out.table(columns, rows)
