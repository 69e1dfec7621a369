"""The text and the tokenizer for several processes: made once on each machine, then read by all."""

from __future__ import annotations

import tempfile
from pathlib import Path

from llmkit.checkpoint.store import Checkpoint, RunDirectory
from llmkit.errors import UsageError
from llmkit.recipe.schema import Recipe
from llmkit.training.cache import text_cache
from llmkit.training.parallel.world import World
from llmkit.training.prepare import Prepared, Say, prepare, prepare_in_cache
from llmkit.training.resume import Resumption, resumption_at


def prepare_together(world: World, recipe: Recipe, store: Path, resumption: Resumption | None, *, say: Say) -> Prepared:
    """`prepare_in_cache` on every process: the first learns the tokenizer, then one on each machine fills the cache.

    The others find the tokenized text in the cache.
    """
    # To tokenize a large text takes hours.
    prepared = world.first(lambda: prepare_in_cache(recipe, store, resumption, say=say), patient=True)
    with tempfile.TemporaryDirectory() as place:
        files: dict[str, str] = {}
        with world.together():
            if prepared is not None:
                prepared.tokenizer.save(Path(place))
                files = {path.name: path.read_text("utf-8") for path in Path(place).iterdir()}
        files = world.tell(files)
        with world.together():
            for name, text in files.items():
                (Path(place) / name).write_text(text, encoding="utf-8")
        # One after another, as they would all do the same work.
        for turn in (True, False):
            with world.together(patient=True):
                if prepared is None and (world.place.local_rank == 0) == turn:
                    with text_cache(store) as cache:
                        prepared = prepare(recipe, store, cache, tokenizer=Path(place), say=lambda line: None)
    assert prepared is not None
    return prepared


def resume_together(world: World, run: RunDirectory, first: Resumption | None) -> Resumption | None:
    """What the first process found to go on from, on all of them."""
    step = world.tell(first.step if first is not None else -1)
    if first is not None or step < 0:
        return first
    found = next((c for c in run.steps() if c.step == step), None)
    if found is None:
        raise UsageError(
            f"process {world.rank} does not see {run.path}, where the first one found step {step}",
            "the store must lie on a disk that all machines share",
        )
    return resumption_at(Checkpoint(found.path, step))
