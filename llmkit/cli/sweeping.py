"""`pretrain --sweep` and `finetune --sweep`: one run after another, each in a process of its own, then a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from llmkit.cli.output import Output
    from llmkit.recipe.schema import Recipe
    from llmkit.render.table import Cell
    from llmkit.training.sweep import Ranking, Result, Variant

SCHEMA = "llmkit/sweep/1"
# What the runs of a sweep are not told: it is the sweep's own business, or given to each run anew.
_OWN = frozenset({"recipe", "sweep", "run", "store", "dry_run", "as_json", "quiet", "plot", "svg", "x", "y", "preview"})
_STOPPED = frozenset({75, 129, 130, 143})

Sweep = Annotated[
    Optional[list[str]],  # noqa: UP045  # Typer evaluates this on Python 3.10
    typer.Option(
        "--sweep", help="Train once for each value, then compare; several make a grid.", metavar="KEY=VALUE,..."
    ),
]


def sweep_runs(
    context: typer.Context,
    recipe: str,
    axes: Sequence[str],
    read: Callable[[list[str]], Recipe],
    *,
    name: str | None,
    store: Path | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train every variant that is not finished yet and tell what came of them.

    context: of the command, whose other options each run gets. read: further `--set`s -> the recipe with them. Every
    variant's recipe is read, and refused if need be, before the first run begins.
    """
    from llmkit.checkpoint.refs import check_name, default_store
    from llmkit.cli.output import Output
    from llmkit.cli.relay import Relay
    from llmkit.errors import UsageError
    from llmkit.training.sweep import overall_code, read_result, variants

    base = read([])
    root = default_store(store)
    found = variants(check_name(name or base.name), axes)
    recipes = [read(variant.overrides) for variant in found]
    if any(
        "-" in (r.data.validation, *([r.data.train] if isinstance(r.data.train, str) else r.data.train))
        for r in recipes
    ):
        raise UsageError("a sweep cannot read stdin: the first run would take it all", "put the text into a file")
    out = Output(as_json=as_json, quiet=quiet)
    if dry_run:
        _show_plans(found, recipes, root, out)
        return
    options = _options(context)
    results = []
    with Relay() as relay:
        for i, variant in enumerate(found):
            relay.stop_if_asked()
            words = "  ".join(variant.overrides)
            out.note(f"run {i + 1} of {len(found)}: {words}  ({variant.run})")
            command = [str(context.info_name), recipe, "--run", variant.run, "--store", str(root), *options]
            for override in variant.overrides:
                command += ["--set", override]
            code = relay.run([*command, *(["--quiet"] if quiet or as_json else [])])
            if code in _STOPPED or relay.number is not None:
                out.note(f"sweep stopped in run {i + 1} of {len(found)}; the same command goes on with it")
                raise typer.Exit(code if code > 0 else relay.exit_code)
            results.append(read_result(variant, root / variant.run, code))
    _show(results, out, finetune=base.is_finetune)
    code = overall_code(results)
    if code:
        raise typer.Exit(code)


def _options(context: typer.Context) -> list[str]:
    """The command's options that each run gets too, as they would be typed."""
    words: list[str] = []
    for parameter in context.command.params:
        value, name = context.params.get(parameter.name or ""), parameter.opts[0]
        if parameter.name in _OWN or value is None or value is False or value == () or value == []:
            continue
        if value is True:
            words.append(name)
        else:
            for one in value if isinstance(value, (list, tuple)) else [value]:
                words += [name, str(one)]
    return words


def _show(results: Sequence[Result], out: Output, *, finetune: bool) -> None:
    from llmkit.training.sweep import as_json, ranking

    order = ranking(results, finetune=finetune)
    best = order.best(results)
    if out.as_json:
        body = {"schema": SCHEMA, "metric": order.metric, "larger_is_better": order.larger_is_better}
        runs = [as_json(result, best) for result in results]
        out.object({**body, "best": best.variant.run if best else None, "runs": runs})
    elif out.is_terminal:
        _draw(results, order, best, out)
    else:
        keys = list(results[0].variant.settings)
        tail = [
            "loss",
            f"validation_{order.metric}",
            f"best_{order.metric}",
            "best_step",
            "seconds",
            "tokens_per_second",
        ]
        out.records([("run", *keys, "exit", "state", *tail, "is_best")])
        for r in results:
            numbers = (r.loss, r.scores.get(order.metric), r.best.get(order.metric), r.best_step, r.seconds)
            cells = ["" if v is None else f"{v:.8g}" for v in (*numbers, r.tokens_per_second)]
            settings = r.variant.settings.values()
            out.records([(r.variant.run, *settings, r.exit_code, r.state, *cells, int(r is best))])


def _draw(results: Sequence[Result], order: Ranking, best: Result | None, out: Output) -> None:
    from rich.text import Text

    from llmkit.render.table import Column
    from llmkit.units import clock, count

    keys = list(results[0].variant.settings)
    metric = order.metric.replace("_", " ")
    columns = [
        Column("run", keep=1), *(Column(key, is_right=True, keep=9) for key in keys),
        Column(f"validation {metric}", is_right=True, keep=8), Column("best", is_right=True, keep=6),
        Column("at step", is_right=True, keep=3), Column("train loss", is_right=True, keep=4),
        Column("time", is_right=True, keep=5), Column("tok/s", is_right=True, keep=5), Column("", keep=10),
    ]  # fmt: skip

    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    rows: list[list[Cell]] = []
    for r in results:
        remark = "◀ best" if r is best else "" if r.exit_code == 0 else f"{r.state} ({r.exit_code})"
        row: list[Any] = [
            r.variant.run, *r.variant.settings.values(), cell(r.scores.get(order.metric)),
            cell(r.best.get(order.metric)), f"{r.best_step:,}" if r.best_step else "", cell(r.loss),
            clock(r.seconds) if r.seconds else "", count(r.tokens_per_second) if r.tokens_per_second else "",
            Text(remark, "bold green" if r is best else "yellow"),
        ]  # fmt: skip
        rows.append(row)
    # Names repeat the settings beside them; where the window is narrow they would push the figures out.
    out.table(columns[1:] if out.width < 100 else columns, [r[1:] if out.width < 100 else r for r in rows])
    if best is not None:
        out.note(f"best: {best.variant.run}  ({best.path})")


def _show_plans(found: Sequence[Variant], recipes: Sequence[Recipe], root: Path, out: Output) -> None:
    """What each run would take, and all of them together."""
    from llmkit.checkpoint.store import RunDirectory
    from llmkit.errors import LlmkitError
    from llmkit.render.table import Column
    from llmkit.training.plan import make_plan
    from llmkit.units import clock, count

    plans: list[dict[str, Any]] = []
    for variant, recipe in zip(found, recipes, strict=True):
        saved = RunDirectory(root / variant.run).checkpoints()
        left = max(0.0, 1 - (saved[-1].step if saved else 0) / recipe.train.steps)
        plan: dict[str, Any] = {"run": variant.run, "settings": dict(variant.settings), "steps": recipe.train.steps}
        try:
            made = make_plan(recipe, root).as_json()
            plan.update(parameters=made["parameters"], seconds=made["total_seconds"] * left, refused=None)
        except LlmkitError as error:
            plan.update(parameters=None, seconds=None, refused=error.message)
        plans.append(plan)
    total = sum(p["seconds"] or 0.0 for p in plans)
    if out.as_json:
        out.object({"schema": SCHEMA, "runs": plans, "total_seconds": total})
        return
    if not out.is_terminal:
        out.records([("run", *found[0].settings, "parameters", "steps", "seconds", "refused")])
        for p in plans:
            known = ["" if p[k] is None else p[k] for k in ("parameters", "steps", "seconds", "refused")]
            out.records([(p["run"], *p["settings"].values(), *known)])
        return
    columns = [
        Column("run"), *(Column(key, is_right=True, keep=9) for key in found[0].settings),
        Column("parameters", is_right=True), Column("steps", is_right=True), Column("time", is_right=True, keep=8),
        Column("", keep=10),
    ]  # fmt: skip
    out.table(columns, [
        [
            p["run"], *p["settings"].values(), count(p["parameters"]) if p["parameters"] else "", f"{p['steps']:,}",
            "" if p["seconds"] is None else clock(p["seconds"]), p["refused"] or ("done" if p["seconds"] == 0 else ""),
        ]
        for p in plans
    ])  # fmt: skip
    out.note(f"{len(plans)} runs, about {clock(total)} in all")
