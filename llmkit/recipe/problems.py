"""Everything that is wrong with a recipe, gathered first and then told at once, each with its line and a way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmkit.errors import RecipeError, UsageError

MOST_SHOWN = 20
QUOTE_WIDTH = 96  # columns of a quoted source line
MOST_ORIGIN = 300


@dataclass(frozen=True)
class Spot:
    """A place in a source text: line counts from 1, column from 0, width in characters."""

    line: int
    column: int
    width: int = 1


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    code: stable name for programs, without the leading "recipe.". message: what is wrong, without the place.
    origin: the file or the flag it stands in. pointer: words beside the caret. suggestions: full names to offer.
    """

    code: str
    message: str
    origin: str
    spot: Spot | None = None
    pointer: str | None = None
    fix: str | None = None
    suggestions: Sequence[str] = ()


class RecipeProblems(RecipeError):
    """A recipe with one or more problems; the message shows all of them, `problems` lists them."""

    def __init__(self, problems: Sequence[Problem], lines: Sequence[str]) -> None:
        shown = problems[:MOST_SHOWN]
        blocks = [_block(problem, lines) for problem in shown]
        # The command line writes "error: " before the message and "  fix: " before the hint: the first and last belong
        # to the first and last problem.
        for i, problem in enumerate(shown[:-1]):
            blocks[i] += f"\n  fix: {problem.fix}" if problem.fix else ""
        if len(problems) > MOST_SHOWN:
            blocks[-1] += f"\n  ... and {len(problems) - MOST_SHOWN} more"
        super().__init__("\nerror: ".join(blocks), shown[-1].fix)
        first = problems[0]
        self.kind = f"recipe.{first.code}"
        self.problems = list(problems)
        self.details: dict[str, object] = {
            "file": first.origin,
            "line": first.spot.line if first.spot else None,
            "suggestions": list(first.suggestions),
            "problems": [_as_data(problem) for problem in problems],
        }


def together(errors: Sequence[UsageError]) -> UsageError:
    """Several errors as one, each with its own way out."""
    texts = [e.message + (f"\n  fix: {e.hint}" if e.hint else "") for e in errors[:-1]]
    return RecipeError("\nerror: ".join([*texts, errors[-1].message]), errors[-1].hint)


@dataclass
class Report:
    """Collects problems while a recipe is read; `lines` is the source they point into."""

    origin: str
    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(
        self,
        code: str,
        message: str,
        spot: Spot | None = None,
        *,
        origin: str | None = None,
        pointer: str | None = None,
        fix: str | None = None,
        suggestions: Sequence[str] = (),
    ) -> None:
        """Note one problem; it stands in the recipe's file unless `origin` says otherwise."""
        self.problems.append(Problem(code, message, origin or self.origin, spot, pointer, fix, suggestions))

    def stop_if_any(self) -> None:
        """Raise RecipeProblems when something was noted, in the order of the file."""
        if self.problems:
            ordered = sorted(self.problems, key=lambda p: (p.spot is None, p.spot.line if p.spot else 0))
            raise RecipeProblems(ordered, self.lines)


def _block(problem: Problem, lines: Sequence[str]) -> str:
    spot = problem.spot
    comma = "" if problem.message.startswith("unknown key") else ","
    text = f"{problem.message}{comma} in {_short(problem.origin)}" + (f", line {spot.line}" if spot else "")
    if spot is None or not 0 < spot.line <= len(lines):
        return text + (f"; {problem.pointer}" if problem.pointer else "")
    quoted, column = _window(lines[spot.line - 1], spot.column)
    number = f"{spot.line:>5}"
    caret = "^" * max(1, min(spot.width, len(quoted) - column))
    pointer = f" {problem.pointer}" if problem.pointer else ""
    return f"{text}\n{number} | {quoted}\n{' ' * len(number)} | {' ' * column}{caret}{pointer}"


def _short(origin: str) -> str:
    """A flag with a value of any length, in the width of a quoted line."""
    return origin if len(origin) <= MOST_ORIGIN else f"{origin[: MOST_ORIGIN - 1]}…"


def _window(line: str, column: int) -> tuple[str, int]:
    """The part of a long line around `column`, and where the column is in it."""
    line = line.rstrip().replace("\t", " ")
    start = 0 if column < QUOTE_WIDTH - 20 else column - 20
    cut = line[start : start + QUOTE_WIDTH]
    return cut, min(column - start, len(cut))


def _as_data(problem: Problem) -> dict[str, object]:
    return {
        "code": f"recipe.{problem.code}",
        "message": problem.message,
        "file": problem.origin,
        "line": problem.spot.line if problem.spot else None,
        "column": problem.spot.column + 1 if problem.spot else None,
        "fix": problem.fix,
        "suggestions": list(problem.suggestions),
    }
