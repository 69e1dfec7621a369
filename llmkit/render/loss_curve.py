"""The loss of a going run as the panel keeps it: all of it, in bounded memory, and drawn at a bounded cost."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.text import Text

from llmkit.render.curves import Curve
from llmkit.render.curves_terminal import plot_lines

# Beyond this many points neighbours are merged: a drawing of 200 columns shows no more, and a run may last for weeks.
_MOST_POINTS = 800


class LossCurve:
    """Losses of training and validation by step, and where the examples became others."""

    def __init__(self) -> None:
        self.train: list[tuple[float, float]] = []
        self.validation: list[tuple[float, float]] = []
        self.stages: list[float] = []
        self._merged = 1  # lines of the log behind a point
        self._waiting: list[tuple[float, float]] = []

    def recall(
        self,
        train: Iterable[tuple[float, float]],
        validation: Iterable[tuple[float, float]],
        stages: Iterable[float],
    ) -> None:
        """Begin with what earlier sessions of the run have learned."""
        for point in train:
            self.add(*point)
        self.validation += validation
        self.stages += stages

    def add(self, step: float, loss: float) -> None:
        """A line of the log."""
        self._waiting.append((step, loss))
        if len(self._waiting) == self._merged:
            self.train.append(_mean(self._waiting))
            self._waiting = []
        if len(self.train) > _MOST_POINTS:
            self.train = [_mean(self.train[i : i + 2]) for i in range(0, len(self.train), 2)]
            self._merged *= 2

    def score(self, step: float, loss: float) -> None:
        """A validation."""
        self.validation.append((step, loss))
        if len(self.validation) > _MOST_POINTS:
            del self.validation[:-1:2]

    @property
    def losses(self) -> list[float]:
        """The losses of training alone."""
        return [loss for _, loss in self.train]

    def lines(self, columns: int, rows: int, *, colored: bool) -> list[Text]:
        """The picture, `rows` lines and two for the axis below."""
        train = [p for p in (*self.train, *self._waiting[-1:]) if math.isfinite(p[1])]
        curve = Curve("", train, self.validation, self.stages)
        return plot_lines([curve], columns, rows, colored=colored)


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(p[0] for p in points) / len(points), sum(p[1] for p in points) / len(points)
