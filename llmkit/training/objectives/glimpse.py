"""An example before and after an objective is done with it, as plain data: what `pretrain --preview` shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Mark(str, Enum):
    """What happened to a token, or what it is for."""

    PLAIN = "plain"
    HIDDEN = "hidden"  # a mask or sentinel stands there
    REPLACED = "replaced"  # by another token
    KEPT = "kept"  # seen as it is, to be predicted all the same
    TARGET = "target"  # to be predicted
    MOVED = "moved"
    SPECIAL = "special"


@dataclass(frozen=True)
class Lane:
    """One row of tokens: (id, what it is)."""

    name: str
    tokens: Sequence[tuple[int, Mark]]


@dataclass(frozen=True)
class Glimpse:
    """One example: lanes such as text, input and target, and what else is to be said about it, by name."""

    lanes: Sequence[Lane]
    notes: dict[str, str] = field(default_factory=dict)


def lane(name: str, ids: Iterable[int], mark: Mark = Mark.PLAIN, *, special: frozenset[int] = frozenset()) -> Lane:
    """A lane whose tokens all have one mark, special ones aside."""
    return Lane(name, [(int(i), Mark.SPECIAL if int(i) in special else mark) for i in ids])
