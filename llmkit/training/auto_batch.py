"""The largest batch that fits: by estimate first, then by a real step under a limit of memory.

The step stays what the recipe says: batch_size x accumulate is kept, only how it is cut up is chosen, so the largest
batch is one that divides it. Batches of other sizes would be another run, with another learning rate to go with them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from llmkit.checkpoint.hf_layout import read_model
from llmkit.checkpoint.refs import resolve
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import LlmkitError, OutOfMemory
from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of
from llmkit.recipe.load import parse_recipe
from llmkit.recipe.resolved import to_yaml
from llmkit.recipe.schema import Recipe
from llmkit.training.fitting import MARGIN, cuts, fitting_size
from llmkit.training.learner import Learner
from llmkit.training.made_up import made_up
from llmkit.training.memory import Footprint, Need, available, estimate
from llmkit.training.optim import make_optimizer
from llmkit.training.plan import sizes
from llmkit.training.resume import RECIPE
from llmkit.training.session import set_up
from llmkit.training.trainer import Trainer
from llmkit.training.trial import try_out
from llmkit.units import size

FLAG = "--auto-batch"
MOST_TRIALS = 4
# How a child says that memory was not enough; OutOfMemory's code.
FULL = OutOfMemory.exit_code


@dataclass(frozen=True)
class Batch:
    """What was chosen. need, have: bytes, as far as known. by: what decided."""

    batch_size: int
    accumulate: int
    by: str
    need: int | None = None
    have: int | None = None

    def words(self) -> str:
        """One line for people."""
        cut = "in one pass" if self.accumulate == 1 else f"in {self.accumulate} passes of {self.batch_size}"
        room = f", about {size(self.need)} of the {size(self.have)} free" if self.need and self.have else ""
        return f"{FLAG}: {self.batch_size * self.accumulate} examples a step {cut} ({self.by}{room})"

    def applied_to(self, recipe: Recipe) -> Recipe:
        """The recipe with this batch."""
        origins = {**recipe.origins, "train.batch_size": FLAG, "train.accumulate": FLAG}
        train = replace(recipe.train, batch_size=self.batch_size, accumulate=self.accumulate)
        return replace(recipe, train=train, origins=origins)


def choose(recipe: Recipe, directory: RunDirectory, say: Callable[[str], None] = lambda line: None) -> Batch:
    """The largest batch that fits, or the one with which the run in `directory` began, so that it can go on.

    say: hears what is being tried, which may take minutes for a large model.

    Raises OutOfMemory when not one example fits.
    """
    begun = _begun(recipe, directory)
    if begun is not None:
        return begun
    store, device = directory.path.parent, set_up(recipe)
    config, have = sizes(recipe, store)[0], available(device)
    t = recipe.train
    examples = t.batch_size * t.accumulate
    guess = estimate(config, replace(t, batch_size=1), recipe.objective)
    footprint = None
    say(f"{FLAG}: measuring a few steps of {guess.parameters:,} parameters")
    if have is not None and guess.lasting < have:
        footprint = try_out(recipe, config, guess, device, have, lambda ref: read_model(resolve(ref, store))).footprint
    candidates = _candidates(recipe, config, guess, footprint, have)
    for batch_size in candidates[:MOST_TRIALS]:
        need = footprint.need(batch_size, examples // batch_size).total if footprint else None
        say(f"{FLAG}: trying {batch_size} examples a pass")
        if fits(recipe, config, batch_size, device, store, have):
            return Batch(batch_size, examples // batch_size, "tried", need, have)
    free = f"{size(have)} are free" if have is not None else "there is no room"
    raise OutOfMemory(
        f"not one example of {t.seq_len} tokens fits beside {guess.parameters:,} parameters: {free}",
        fitting_size(recipe, config, have),
    )


def _begun(recipe: Recipe, directory: RunDirectory) -> Batch | None:
    """The batch of the run's newest checkpoint, if it makes the same step."""
    for checkpoint in reversed(directory.checkpoints()):
        with contextlib.suppress(OSError, LlmkitError):
            text = (checkpoint.path / RECIPE).read_text(encoding="utf-8")
            old, new = parse_recipe(text, str(checkpoint.path / RECIPE)).train, recipe.train
            if old.batch_size * old.accumulate == new.batch_size * new.accumulate:
                return Batch(old.batch_size, old.accumulate, "as the run began")
        return None
    return None


def _candidates(
    recipe: Recipe, config: ModelConfig, guess: Need, footprint: Footprint | None, have: int | None
) -> list[int]:
    """Batches worth a try, the largest first."""
    t = recipe.train
    found = cuts(recipe, config.max_seq_len)[::-1]
    if have is None:
        return found
    room = int(MARGIN * have)
    if footprint is not None:
        return [d for d in found if footprint.need(d, t.batch_size * t.accumulate // d).total <= room]
    return [d for d in found if guess.lasting + d * guess.activations <= room]


def fits(
    recipe: Recipe, config: ModelConfig, batch_size: int, device: torch.device, store: Path, have: int | None
) -> bool:
    """Whether a whole step with this batch goes well: here on an accelerator, else in a process of its own."""
    t = recipe.train
    passes = min(2, t.batch_size * t.accumulate // batch_size)
    if device.type != "cpu":
        return _step_fits(recipe, config, batch_size, passes, device, store)
    order = {
        "recipe": to_yaml(recipe),
        "store": str(store),
        "batch_size": batch_size,
        "passes": passes,
        "threads": torch.get_num_threads(),
        "limit": have,
    }
    child = subprocess.run(
        [sys.executable, "-m", "llmkit.training.auto_batch"],
        input=json.dumps(order).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if child.returncode in (0, FULL) or child.returncode < 0:  # the system ends a process that takes too much
        return child.returncode == 0
    raise LlmkitError(f"the trial step of {FLAG} failed: {child.stderr.decode(errors='replace').strip()[-400:]}")


def _step_fits(
    recipe: Recipe, config: ModelConfig, batch_size: int, passes: int, device: torch.device, store: Path
) -> bool:
    settings = replace(recipe.train, batch_size=batch_size, accumulate=passes)
    try:
        model = family_of(config).build(config).to(device)
        objective = made_up(recipe, config, settings, model, lambda ref: read_model(resolve(ref, store)))
        trainer = Trainer(model, objective, make_optimizer(Learner(model, objective), settings), settings)
        try:
            trainer._gradients()
            trainer.optimizer.step(0.0)
        finally:
            trainer.feed.close()
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error):
            return False
        raise
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return True


def limit_memory(n_bytes: int) -> None:
    """Let this process take at most `n_bytes` more than it has; where the system knows no such limit, nothing."""
    with contextlib.suppress(ImportError, OSError, ValueError, StopIteration):
        import resource

        with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
            now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (now + n_bytes, resource.RLIM_INFINITY))


def try_order(order: Mapping[str, object]) -> int:
    """What the child does: the step that it is told to take, under the limit. Returns the exit code."""
    recipe, store = parse_recipe(str(order["recipe"]), "recipe"), Path(str(order["store"]))
    torch.set_num_threads(int(str(order["threads"])))
    config = sizes(recipe, store)[0]
    if order["limit"] is not None:
        limit_memory(int(str(order["limit"])))
    batch_size, passes = int(str(order["batch_size"])), int(str(order["passes"]))
    return 0 if _step_fits(recipe, config, batch_size, passes, torch.device("cpu"), store) else FULL


if __name__ == "__main__":
    sys.exit(try_order(json.loads(sys.stdin.buffer.read())))
