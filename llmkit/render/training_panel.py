"""The live panel of a training run: where it is, how the loss falls, how fast it goes, what it says."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from llmkit.render.bars import bar
from llmkit.render.console import make_console, width
from llmkit.render.safe_text import safe_line
from llmkit.units import count, size

_BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_CELLS = 40
# Seconds between two drawings: drawing costs milliseconds that training could use.
PACE = 0.2
# What an eval or step record holds besides scores and parts of the loss.
_STEP_KEYS = {"event", "step", "loss", "lr", "grad_norm", "tokens", "seconds", "nonfinite"}
_STEP_KEYS |= {"tokens_per_second", "examples_per_second"}
_EVAL_KEYS = {"event", "step", "seconds", "better", "nonfinite"}


def sparkline(values: Sequence[float], cells: int = SPARK_CELLS) -> str:
    """`values` as a row of blocks, lowest to highest; more values than cells are averaged."""
    finite = [v for v in values if v == v and abs(v) != float("inf")]
    if not finite:
        return ""
    n = min(cells, len(finite))
    bounds = [i * len(finite) // n for i in range(n + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(bounds)]
    low, span = min(means), max(means) - min(means)
    return "".join(_BLOCKS[round((m - low) / span * 7) if span else 0] for m in means)


def clock(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 3:05:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def score(name: str, value: float) -> str:
    """A score as `loss 1.234` or `masked accuracy 45.6%`."""
    words = name.replace("_", " ")
    if name.endswith(("accuracy", "f1")):
        return f"{words} {100 * value:.1f}%"
    return f"{words} {value:.4g}" if value >= 100 else f"{words} {value:.3f}"


class TrainingPanel:
    """Takes the records of a run as they come and keeps a picture of it on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.console: Console = make_console(stream)
        self.columns = width(stream)
        self.live: Live | None = None
        self.latest: dict[str, Mapping[str, Any]] = {}
        self.losses: list[float] = []
        self.drawn = 0.0
        self.began = 0.0

    def show(self, record: Mapping[str, Any]) -> None:
        """Take one record, and draw if the last drawing is a while ago or the record is a rare one."""
        try:
            self._take(record)
        except OSError:  # the terminal has gone; the run has not
            self.live = None
            self.show = lambda record: None  # type: ignore[method-assign]  # nothing to draw on any more

    def close(self) -> None:
        """Leave the last picture and give the terminal back."""
        if self.live is not None:
            live, self.live = self.live, None
            try:
                live.update(self.picture(), refresh=True)
                live.stop()
            except OSError:
                pass

    def _take(self, record: Mapping[str, Any]) -> None:
        kind = str(record["event"])
        self.latest[kind] = record
        if kind == "start":
            self.began = time.monotonic()
            self.live = Live(self.picture(), console=self.console, auto_refresh=False)
            self.live.start(refresh=True)
        elif kind == "warning":
            self.console.print(Text(f"warning: {safe_line(str(record['message']))}", style="yellow"))
        elif kind == "step" and record["loss"] is not None:
            self.losses.append(record["loss"])
        now = time.monotonic()
        if self.live is not None and (kind != "step" or now - self.drawn > PACE):
            self.live.update(self.picture(), refresh=True)
            self.drawn = now

    def picture(self) -> Group:
        """Everything known so far, a fact a line, each cut to the width of the terminal."""
        lines = [self._header(), self._progress(), self._loss(), self._rates(), *self._scores()]
        lines += [self._sample(), self._checkpoint()]
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True, min_width=8)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for name, body in filter(None, lines):
            table.add_row(name, body)
        return Group(table)

    def _header(self) -> tuple[str, Text] | None:
        start = self.latest.get("start")
        if start is None:
            return None
        threads = f"{start['threads']} thread{'s' if start['threads'] > 1 else ''}"
        where = f"{start['device']}, {threads}" if start["device"] == "cpu" else str(start["device"])
        text = Text(safe_line(str(start["run"])), style="bold")
        text.append(
            f"  {count(start['parameters'])} parameters  {count(start['examples'])} examples  ", style="not bold"
        )
        text.append(f"{count(start['tokens_per_step'])} tokens a step  {where}", style="not bold")
        return "run", text

    def _progress(self) -> tuple[str, Text] | None:
        start = self.latest.get("start")
        if start is None:
            return None
        step = max((r["step"] for r in self.latest.values()), default=0)
        steps, first = start["steps"], start["step"]
        elapsed = time.monotonic() - self.began
        room = max(8, min(40, self.columns - 48))
        text = Text(bar(step / steps, room).ljust(room), style="green")
        text.append(f" {step:,} of {steps:,}  {100 * step // steps}%  {clock(elapsed)} gone", style="default")
        if first < step < steps:
            text.append(f"  {clock(elapsed / (step - first) * (steps - step))} left", style="default")
        return "step", text

    def _loss(self) -> tuple[str, Text] | None:
        step = self.latest.get("step")
        if step is None or step["loss"] is None:
            return None
        room = max(8, min(SPARK_CELLS, self.columns - 40))
        text = Text(f"{step['loss']:.4f} ", style="bold")
        text.append(sparkline(self.losses, room), style="cyan")
        for part, value in step.items():
            if part not in _STEP_KEYS and value is not None:
                text.append(f"  {part} {value:.3f}", style="not bold")
        return "loss", text

    def _rates(self) -> tuple[str, Text] | None:
        step = self.latest.get("step")
        if step is None:
            return None
        return "rate", Text(
            f"{step['tokens_per_second']:,.0f} tok/s  {step['examples_per_second']:,.0f} seq/s  "
            f"lr {step['lr']:.2e}  gradient norm {step['grad_norm']:.3g}"
        )

    def _scores(self) -> list[tuple[str, Text]]:
        record = self.latest.get("eval")
        if record is None:
            return []
        best = ", best so far" if record["better"] else ""
        text = Text(f"step {record['step']:,}{best}", style="dim")
        found = [score(k, v) for k, v in record.items() if k not in _EVAL_KEYS and v is not None]
        text.append("  " + "  ".join(found), style="not dim")
        return [("held out", text)]

    def _sample(self) -> tuple[str, Text] | None:
        record = self.latest.get("sample")
        if record is None:
            return None
        text = Text(safe_line(record["prompt"]), style="dim")
        text.append(" → " if "[MASK]" in record["prompt"] else "", style="dim")
        text.append(safe_line(record["text"]), style="not dim")
        return "it says", text

    def _checkpoint(self) -> tuple[str, Text] | None:
        record = self.latest.get("checkpoint")
        if record is None:
            return None
        return "saved", Text(f"{safe_line(record['path'])}  {size(record['size'])}  {record['seconds']:.2f} s")
