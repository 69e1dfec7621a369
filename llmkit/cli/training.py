"""What `pretrain` and `finetune` share: where the run lives, who listens, how it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

if TYPE_CHECKING:
    from llmkit.checkpoint.store import RunDirectory
    from llmkit.recipe.schema import Recipe
    from llmkit.training.events import Listener
    from llmkit.training.resume import Resumption
    from llmkit.training.signals import StopRequest

RecipeArgument = Annotated[
    Optional[list[str]],  # noqa: UP045  # Typer evaluates this on Python 3.10
    typer.Argument(metavar="RECIPE", help="A recipe file, or a built-in by name (llmkit recipe ls)."),
]
RunName = Annotated[
    Optional[str],  # noqa: UP045  # Typer evaluates this on Python 3.10
    typer.Option("--run", help="Name of the run in the store [default: the recipe's].", metavar="NAME"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show parameters, memory, disk and time, train nothing.")]
AutoBatch = Annotated[
    bool, typer.Option("--auto-batch", help="Cut each step into the largest batches that fit into memory.")
]
AllowChange = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--allow-change", help="Go on although this recipe key changed; repeatable.", metavar="KEY"),
]
EventLines = Annotated[bool, typer.Option("--json", help="Events as JSON lines on stdout; a plan as one object.")]
TrainDevice = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--device", help="auto, cpu, cuda or mps [default: the recipe's train.device].", metavar="DEVICE"),
]


Devices = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--devices", help="Processes on this machine, one per GPU [default: 1].", min=1, metavar="N"),
]


def starts_others(devices: int | None, recipe: Recipe) -> bool:
    """Whether this process is to start several that train; refused early when they could not share a batch."""
    from llmkit.training.parallel.place import Place, refuse_to_spread

    if devices is None or devices == 1 or Place.from_environment().size > 1:
        return False
    refuse_to_spread(recipe, devices)
    return True


@dataclass
class Talk:
    """Where a training command speaks: events to `listeners`, everything else through `say`."""

    as_json: bool
    quiet: bool
    listeners: list[Listener] = field(default_factory=list)
    panel: Any = None
    lines: Any = None
    is_mute: bool = False  # another process of the run says what there is to say

    def __post_init__(self) -> None:
        from llmkit.render.console import is_terminal
        from llmkit.render.lines import talk
        from llmkit.training.logs import JsonLines, PlainLines

        self.lines = PlainLines(sys.stderr, lambda line: talk(line, sys.stderr))
        if self.as_json:
            self.listeners.append(JsonLines(sys.stdout))
        elif not self.quiet:
            if is_terminal(sys.stderr):
                from llmkit.render.training_panel import TrainingPanel
                from llmkit.training.events import to_record

                self.panel = TrainingPanel(sys.stderr)
                self.listeners.append(lambda event: self.panel.show(to_record(event)))
            else:
                self.listeners.append(self.lines)

    def recall(self, directory: Path, step: int) -> None:
        """Let the panel begin with what earlier sessions of the run learned until `step`."""
        if self.panel is None:
            return
        from llmkit.errors import LlmkitError
        from llmkit.training.history import read_histories

        with contextlib.suppress(LlmkitError):  # a run without its log goes on all the same
            for history in read_histories(directory)[:1]:
                train, scored = (
                    [(p.step, p.values["loss"]) for p in part if "loss" in p.values and p.step <= step]
                    for part in (history.points, history.validation)
                )
                self.panel.recall(train, scored, [s for s in history.stages if s <= step])

    def say(self, line: str) -> None:
        """One line of talk on stderr."""
        if not self.quiet and not self.as_json:
            self._put(line)

    def warn(self, line: str) -> None:
        """A line that also `--quiet` lets through."""
        self._put(f"warning: {line}")

    def last_word(self, line: str) -> None:
        """A line that every face but `--json` shows."""
        if not self.as_json:
            self._put(line)

    def _put(self, line: str) -> None:
        if self.is_mute:
            return
        # The panel moves the cursor: what is printed past it while it stands would land in the picture.
        (self.panel or self.lines).say(line)

    def close(self) -> None:
        """Give the terminal back."""
        if self.panel is not None:
            self.panel.close()


def one_recipe(recipes: list[str] | None) -> str:
    """The recipe to train: exactly one; only `--plot` takes several words."""
    from llmkit.errors import UsageError

    if not recipes:
        raise UsageError("missing argument 'RECIPE'", "name a recipe; llmkit recipe ls lists those that come built in")
    if len(recipes) > 1:
        raise UsageError(
            f"{len(recipes)} recipes were given; one is trained at a time",
            "or did you mean --plot, which takes several?",
        )
    if recipes[0].endswith((".txt", ".md", ".jsonl", ".gz", ".zst", ".parquet")) or recipes[0] == "stories":
        raise UsageError(
            f"{recipes[0]} is a text to train on, not a recipe",
            f"name a recipe (llmkit recipe ls), and the text by --set data.train={recipes[0]}",
        )
    return recipes[0]


def read_recipe(
    path: str,
    overrides: list[str] | None,
    device: str | None,
    allow: list[str] | None,
    *,
    size: str | None = None,
    finetune: bool,
) -> Recipe:
    """The recipe with all flags applied; refused when it is one for the other command, or `allow` names no key."""
    from llmkit.errors import UsageError
    from llmkit.recipe.guess import guess_key
    from llmkit.recipe.keys import all_specs
    from llmkit.recipe.load import load_recipe

    keys = all_specs(None) if allow else {}
    for key in allow or ():
        if key not in keys:
            near = " or ".join(map(repr, guess_key(key, keys)))
            hint = f"did you mean {near}?" if near else "llmkit recipe schema lists the keys"
            raise UsageError(f"--allow-change names no key of a recipe: {key[:80]!r}", hint)
    recipe = load_recipe(path, [*(overrides or []), *([f"train.device={device}"] if device else [])], size=size)
    if recipe.is_finetune != finetune:
        here, there = ("finetune", "pretrain") if finetune else ("pretrain", "finetune")
        what = "starts from random weights" if finetune else "starts from a checkpoint"
        raise UsageError(f"recipe {recipe.name} {what}, which {here} does not do", f"llmkit {there} {path}")
    return recipe


@contextlib.contextmanager
def session(
    directory: RunDirectory,
    talk: Talk,
    *,
    lock: bool = True,
    is_meant: Callable[[], bool] = lambda: True,
    leave: Callable[[int], int] = lambda code: code,
) -> Iterator[StopRequest]:
    """Own the run's directory and hear signals; a signal that comes before there is anything to save ends it here.

    lock: without it, owning is left to the caller. is_meant: whether such an end was asked for; if not, the code is
    1. leave: what is done last in it; the code to end with.
    """
    from llmkit.training.signals import StopRequest

    # A reader of the log that dies must not stop the run.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def farewell(stop: StopRequest) -> int:
        talk.close()
        if directory.is_locked:
            directory.remove_if_empty()
        if not is_meant():
            return 1
        saved = directory.checkpoints()
        where = f"its newest checkpoint is step {saved[-1].step}" if saved else "there was nothing to save yet"
        talk.warn(f"stopped by {stop.name} while getting ready; {where}. Run the same command to go on.")
        return leave(stop.exit_code if saved or stop.number == signal.SIGINT else 128 + int(stop.number or 0))

    with StopRequest(farewell) as stop:
        try:
            with directory.lock() if lock else contextlib.nullcontext():
                yield stop
        finally:
            talk.close()


def say_finished(resumption: Resumption, directory: Path, talk: Talk) -> None:
    """Nothing is left to do: say so and how to get more."""
    from llmkit.training.resume import may_go_on

    flag = "" if may_go_on(resumption) else " and add --allow-change train.steps, as the rates would have been others"
    talk.say(
        f"{directory.name} is finished: {resumption.step} of {resumption.step} steps. "
        f"To go on, raise train.steps{flag}; to start anew, choose another --run NAME."
    )


def end(reason: str, step: int, directory: Path, stop: StopRequest, talk: Talk, *, hint: str = "", **more: Any) -> None:
    """The last words: how the run ended on stderr, its directory on stdout.

    hint: what to do next, for people; more: further keys for `--json`.
    """
    talk.close()
    if reason == "stopped":
        talk.last_word(
            f"stopped by {stop.name} at step {step}; checkpoint saved ({directory}@{step}). "
            "Run the same command to go on."
        )
    elif talk.panel is not None and hint:
        talk.say(f"next: {hint}")
    put_result(directory, step, talk, **more)
    if reason == "stopped":
        raise typer.Exit(stop.exit_code)


def say_plainly(line: str) -> None:
    """One line of talk on stderr, where no run is under way."""
    from llmkit.render.lines import talk

    print(talk(line, sys.stderr), file=sys.stderr)


def print_event(name: str, **values: Any) -> None:
    """An event of the command itself as a JSON line on stdout."""
    from llmkit.training.events import SCHEMA

    print(json.dumps({"schema": SCHEMA, "event": name, **values}), flush=True)


def put_result(directory: Path, step: int, talk: Talk, **more: Any) -> None:
    """The run's directory on stdout, as text or JSON. A reader that has gone is not an error of the run."""
    if talk.is_mute:
        return
    line = str(directory)
    if talk.as_json:
        from llmkit.training.events import SCHEMA

        line = json.dumps({"schema": SCHEMA, "event": "result", "path": line, "step": step, **more})
    try:
        print(line, flush=True)
    except BrokenPipeError:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show_plan(recipe: Recipe, directory: RunDirectory, *, as_json: bool) -> None:
    """Print what the run would take: lines on a terminal, key and value in a pipe, or one JSON object."""
    from llmkit.render.console import is_terminal
    from llmkit.render.plan import plan_lines
    from llmkit.training.plan import make_plan

    plan = {**make_plan(recipe, directory.path.parent).as_json(), "run": directory.path.name}
    if as_json:
        print(json.dumps(plan))
    elif is_terminal(sys.stdout):
        print("\n".join(plan_lines(plan)))
    else:
        for name, value in plan.items():
            if name != "schema":
                print(f"{name}\t{'' if value is None else value}")
