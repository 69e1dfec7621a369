"""A few examples before and after corruption: what `pretrain --preview` shows. Nothing is left in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmkit.recipe.schema import Recipe
from llmkit.recipe.tasks import TASKS
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.objectives.given import make_objective
from llmkit.training.objectives.glimpse import Glimpse
from llmkit.training.objectives.objective import Objective, Picks, joined
from llmkit.training.prepare import prepare
from llmkit.training.seeds import Purpose, generators
from llmkit.training.session import given, model_config


@dataclass(frozen=True)
class Preview:
    """The first examples that a run would train on. pieces: id -> text of the token, with its space in front."""

    objective: str
    title: str
    glimpses: list[Glimpse]
    pieces: Callable[[int], str]


def make_preview(recipe: Recipe, store: Path, count: int, *, say: Callable[[str], None]) -> Preview:
    """The first `count` examples of the recipe's run, exactly as its first step would see them."""
    # The text of a whole run may be large, and whoever looks may never train on it: nothing is kept.
    with tempfile.TemporaryDirectory(prefix="llmkit-preview-") as cache:
        prepared = prepare(recipe, store, Path(cache), say=say)
        objective = make_objective(given(recipe, prepared, model_config(recipe, prepared.tokenizer), store))
        picks = first_picks(objective, recipe.train.batch_size, count)
        glimpses = objective.preview(picks, generators(recipe.train.seed, Purpose.CORRUPTION, picks.draw))
    task = TASKS[recipe.objective.name]
    return Preview(task.name, task.title, glimpses, spelled(prepared.tokenizer))


def first_picks(objective: Objective, batch_size: int, count: int) -> Picks:
    """The first `count` examples, asked for in whole batches as a run does; fewer where they would be of two kinds."""
    found = [objective.picks(0, batch_size)]
    while sum(len(picks.index) for picks in found) < count:
        more = objective.picks(len(found) * batch_size, batch_size)
        if more.stage != found[0].stage:
            break
        found.append(more)
    return joined(found).part(0, count)


def spelled(tokenizer: Tokenizer) -> Callable[[int], str]:
    """A function id -> text such that joined texts read like the original."""

    def piece(token_id: int) -> str:
        token = tokenizer.token(token_id)
        if token_id in tokenizer.special_ids:
            return f" {token}"
        if tokenizer.is_lossless:
            return tokenizer.decode_bytes([token_id]).decode("utf-8", "replace")
        if token.startswith("##"):
            return token[2:]
        return token.replace("▁", " ") if "▁" in token else f" {token}" if _marks_pieces(tokenizer) else token

    return piece


def _marks_pieces(tokenizer: Tokenizer) -> bool:
    """Whether pieces that go on are marked, rather than those that begin a word."""
    return type(tokenizer.backend.model).__name__ == "WordPiece"
