"""The live panel of a training run: where it is, how the loss falls, how fast it goes, what it says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from llmkit.render.bars import bar
from llmkit.render.console import make_console, wants_color, width
from llmkit.render.lines import Field, fitting, wrapped
from llmkit.render.loss_curve import LossCurve
from llmkit.render.safe_text import safe_line, safe_text
from llmkit.units import clock, count, size

_BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_CELLS = 40
# Seconds between two drawings, and the most that drawing may take of the time: training could use it.
PACE, SHARE = 0.2, 0.005
# The curve is at most so high, and is left to a sparkline where there is room for less; the facts take the other lines.
_MOST_ROWS, _FEWEST_ROWS, _FACTS, _FEWEST_COLUMNS = 9, 4, 11, 40
_LABEL, _GAP = 8, 2  # columns of the names of the facts, and between fields
# What an eval or step record holds besides scores and parts of the loss.
_STEP_KEYS = {"event", "step", "loss", "lr", "grad_norm", "tokens", "seconds", "nonfinite"}
_STEP_KEYS |= {"tokens_per_second", "examples_per_second", "utilisation"}
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
        self.stream, self.columns = stream, width(stream)
        self.widths: list[int] = []  # of the lines of the picture that stands there
        self.live: Live | None = None
        self.latest: dict[str, Mapping[str, Any]] = {}
        self.curve = LossCurve()
        self.colored = wants_color(stream)
        self.drawn = 0.0
        self.cost = 0.0
        self.began = 0.0

    def show(self, record: Mapping[str, Any]) -> None:
        """Take one record, and draw if the last drawing is a while ago or the record is a rare one."""
        try:
            self._take(record)
        except OSError:  # the terminal has gone; the run has not
            self.live = None
            self.show = lambda record: None  # type: ignore[method-assign]  # nothing to draw on any more

    def say(self, line: str) -> None:
        """Print a line that is no event, above the picture while there is one."""
        with contextlib.suppress(OSError):
            self._print(line)

    def recall(
        self,
        train: Iterable[tuple[float, float]],
        validation: Iterable[tuple[float, float]],
        stages: Iterable[float] = (),
    ) -> None:
        """What earlier sessions of the run have learned: (step, loss), and the steps where the examples changed."""
        self.curve.recall(train, validation, stages)

    def close(self) -> None:
        """Leave the last picture and give the terminal back; what is said from now on comes below it."""
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
            self._print(f"warning: {record['message']}", style="yellow")
        elif kind == "skip":
            self._print(f"warning: step {record['step'] + 1} left out: {record['reason']}", style="yellow")
        elif kind == "stage":
            self.curve.stages.append(record["step"])
        elif kind == "step" and record["loss"] is not None:
            self.curve.add(record["step"], record["loss"])
        elif kind == "eval" and record.get("loss") is not None:
            self.curve.score(record["step"], record["loss"])
        now = time.monotonic()
        if self.live is not None and (kind != "step" or now - self.drawn > max(PACE, self.cost / SHARE)):
            self._follow(self.live)
            self.live.update(self.picture(), refresh=True)
            self.drawn = time.monotonic()
            self.cost = self.drawn - now
        if kind == "end":
            self.close()

    def _follow(self, live: Live) -> None:
        """Lay out for the terminal's width of now. Where it has changed the terminal has wrapped the lines that stand
        there anew, and only we can tell how many they are: Rich would take back too few, or too many."""
        columns = width(self.stream)
        if columns == self.columns:
            return
        rows = sum(max(1, -(-cells // columns)) for cells in self.widths)
        self.stream.write("\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J")
        live._live_render._shape = None  # what stood there is gone
        self.console.width = self.columns = columns

    def _print(self, line: str, style: str = "default") -> None:
        # A line the terminal breaks itself, as it must where a word is too long, is no trouble above the picture.
        self.console.print(Text(wrapped(safe_text(line), self.columns), style=style), soft_wrap=True)

    def picture(self) -> Group:
        """Everything known so far, a fact a line, each with the fields that the terminal has room for."""
        curve = self._curve()
        lines = [self._header(), self._progress(), self._loss(has_curve=bool(curve)), *curve]
        lines += [self._rates(), self._descent(), self._scores(), self._sample(), self._checkpoint()]
        found = []
        for name, body in filter(None, lines):
            body.truncate(self.room, overflow="ellipsis")
            # Lines and no table: Rich would lay that out anew each time, which takes longer than all the rest.
            found.append(Text.assemble((f"{name:<{_LABEL + _GAP}}", "dim"), body, no_wrap=True, overflow="crop"))
        self.widths = [line.cell_len for line in found]
        return Group(*found)

    @property
    def room(self) -> int:
        """Columns for the facts."""
        return max(1, self.columns - _LABEL - _GAP)

    def _header(self) -> tuple[str, Text] | None:
        start = self.latest.get("start")
        if start is None:
            return None
        threads = f"{start['threads']} thread{'s' if start['threads'] > 1 else ''}"
        fields = [
            Field(safe_line(str(start["run"])), 0, "bold"),
            *([Field(f"goes on from step {start['step']:,}", 1)] if start["step"] else []),
            Field(f"{count(start['parameters'])} parameters", 1),
            Field(f"{count(start['examples'])} examples", 4),
            Field(f"{count(start['tokens_per_step'])} tokens a step", 3),
            Field(f"{start['device']}, {threads}" if start["device"] == "cpu" else str(start["device"]), 2),
        ]
        return "run", _joined(fields, self.room)

    def _progress(self) -> tuple[str, Text] | None:
        start = self.latest.get("start")
        if start is None:
            return None
        step = max((r["step"] for r in self.latest.values()), default=0)
        steps, first = start["steps"], start["step"]
        elapsed = time.monotonic() - self.began
        # As wide as the longest of what follows leaves it, so that it does not jump.
        longest = len(f" {steps:,} of {steps:,}  100%  0:00:00 gone  0:00:00 left")
        bar_room = max(8, min(40, self.room - longest))
        fields = [
            Field(f"{step:,} of {steps:,}", 0),
            Field(f"{100 * step // steps}%", 2),
            Field(f"{clock(elapsed)} gone", 3),
        ]
        if first < step < steps:
            fields.append(Field(f"{clock(elapsed / (step - first) * (steps - step))} left", 1))
        text = Text(bar(step / steps, bar_room).ljust(bar_room) + " ", style="green")
        return "step", text.append_text(_joined(fields, self.room - bar_room - 1))

    def _curve(self) -> list[tuple[str, Text]]:
        """The loss so far, where the window is large enough for it and the facts."""
        rows = min(_MOST_ROWS, self.console.height - _FACTS)
        if rows < _FEWEST_ROWS or self.room < _FEWEST_COLUMNS or len(self.curve.train) < 2:
            return []
        return [("", line) for line in self.curve.lines(self.room, rows, colored=self.colored)]

    def _loss(self, *, has_curve: bool) -> tuple[str, Text] | None:
        step = self.latest.get("step")
        if step is None or step["loss"] is None:
            return None
        cells = max(8, min(SPARK_CELLS, self.columns - 40))
        spark = "" if has_curve else f" {sparkline(self.curve.losses, cells)}"
        fields = [Field(f"{step['loss']:.4f}{spark}", 0)]
        parts = [(k, v) for k, v in step.items() if k not in _STEP_KEYS and v is not None]
        fields += [Field(f"{part} {value:.3f}", 1 + i) for i, (part, value) in enumerate(parts)]
        if self.curve.stages:
            fields.append(Field(f"other examples from step {self.curve.stages[-1]:,.0f} on", 8, "dim"))
        text = _joined(fields, self.room)
        number = len(f"{step['loss']:.4f}")
        text.stylize("bold", 0, number)
        text.stylize("cyan", number, len(fields[0].text))
        return "loss", text

    def _rates(self) -> tuple[str, Text] | None:
        step = self.latest.get("step")
        if step is None:
            return None
        fields = [
            Field(f"{step['tokens_per_second']:,.0f} tok/s", 0),
            Field(f"{step['examples_per_second']:,.0f} seq/s", 3),
        ]
        share, limit = step.get("utilisation"), self.latest.get("start", {}).get("limit_flops")
        if share is not None and limit:
            long = f"{100 * share:.0f}% of the {count(limit)}FLOP/s this machine can do"
            has_room = len(fields[0].text) + _GAP + len(long) <= self.room
            fields.append(Field(long if has_room else f"{100 * share:.0f}% of the machine", 1))
        return "rate", _joined(fields, self.room)

    def _descent(self) -> tuple[str, Text] | None:
        step = self.latest.get("step")
        if step is None:
            return None
        fields = [Field(f"lr {step['lr']:.2e}", 0), Field(f"gradient norm {step['grad_norm']:.3g}", 1)]
        skip = self.latest.get("skip")
        if skip is not None:
            left_out = f"{skip['skipped']} step{'s' if skip['skipped'] > 1 else ''} left out"
            fields.append(Field(f"{left_out}, the last at {skip['step'] + 1:,}", 2, "yellow"))
        return "descent", _joined(fields, self.room)

    def _scores(self) -> tuple[str, Text] | None:
        record = self.latest.get("eval")
        if record is None:
            return None
        best = ", best so far" if record["better"] else ""
        scores = [(k, v) for k, v in record.items() if k not in _EVAL_KEYS and v is not None]
        # Perplexity says the same as the loss; bits per byte is what tokenizers and models can be compared by.
        ranks = {"loss": 0, "bits_per_byte": 2, "perplexity": 3 + len(scores)}
        fields = [Field(f"step {record['step']:,}{best}", 1, "dim")]
        fields += [Field(score(k, v), ranks.get(k, 3 + i)) for i, (k, v) in enumerate(scores)]
        return "held out", _joined(fields, self.room)

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
        fields = [
            Field(safe_line(record["path"]), 0),
            Field(size(record["size"]), 1),
            Field(f"{record['seconds']:.2f} s", 2),
        ]
        return "saved", _joined(fields, self.room)


def _joined(fields: Sequence[Field], columns: int) -> Text:
    return Text(" " * _GAP).join([Text(f.text, style=f.style) for f in fitting(fields, columns, _GAP)])
