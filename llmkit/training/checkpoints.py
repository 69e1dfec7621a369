"""What a training checkpoint holds, how it is committed, and how a run is put back where it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmkit.checkpoint.commit import Write
from llmkit.checkpoint.hf_layout import read_model, write_model
from llmkit.checkpoint.manifest import FileRecord
from llmkit.checkpoint.state import load_values, open_state, save_state, save_values
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import InputRefused
from llmkit.recipe.resolved import digest, to_yaml
from llmkit.recipe.schema import Recipe
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.disk import SMALL_FILES
from llmkit.training.events import Evaluation, Event, Listener, Warned
from llmkit.training.objectives.objective import Objective
from llmkit.training.optim import Optimizer
from llmkit.training.parallel.spread import Spread, parameter_of
from llmkit.training.parallel.world import ALONE, World
from llmkit.training.progress import Progress
from llmkit.training.resume import RECIPE, Resumption
from llmkit.training.saving import Commit

# Prefix of the newest weights in the training state, where the model file holds the best ones.
LAST = "last."
# Prefixes of what the objective remembers there, and of its second network's weights.
OBJECTIVE, PARTNER = "objective.", "partner."


def saver(
    recipe: Recipe,
    run: RunDirectory,
    model: Any,
    optimizer: Optimizer,
    objective: Objective,
    tokenizer: Tokenizer,
    *,
    meta: dict[str, Any],
    before: Callable[[], None],
    spread: Spread,
    best: Best | None = None,
) -> Callable[[Progress], Commit]:
    """The function that commits one checkpoint and then removes the ones no longer kept.

    All processes call it, and it succeeds or fails on all; only the first owns the run's directory.
    """
    world = spread.world
    text = to_yaml(recipe)
    n_bytes = checkpoint_bytes(model, optimizer, objective, spread, best) + SMALL_FILES
    full_meta = {**meta, "recipe": digest(recipe), "threads": torch.get_num_threads()}
    if world.size > 1:
        full_meta |= {"processes": world.size, "parallel": spread.kind}

    def write_small(directory: Path) -> None:
        tokenizer.save(directory)
        (directory / RECIPE).write_text(text, encoding="utf-8")

    def commit(progress: Progress, write: Write) -> Commit:
        before()
        checkpoint = run.save(progress.step, write, meta=full_meta, predicted_bytes=n_bytes)
        run.prune(recipe.train.keep)
        return Commit(checkpoint.path, checkpoint.manifest.n_bytes)

    def save(progress: Progress) -> Commit:
        remembered = remembered_by_all(objective, world)

        def write(directory: Path) -> None:
            write_model(directory, best.model if best is not None and best.model is not None else model)
            write_small(directory)
            newest = best.newest_weights(model, progress) if best is not None else {}
            state = {**optimizer.state(), **newest, **remembered, **partner_weights(objective)}
            save_state(directory, state, progress.to_values())

        return told(world.first(lambda: commit(progress, write)))

    def save_together(progress: Progress) -> Commit:
        from llmkit.training.parallel.saving import gather_share, write_rest, write_together

        assert spread.is_cut
        share = gather_share(spread, model, _state_of_all(spread, optimizer, objective))  # type: ignore[arg-type]
        begun = False

        def write(directory: Path) -> Mapping[str, FileRecord]:
            nonlocal begun
            begun = True
            world.tell(str(directory))
            known = write_rest(directory, model, write_together(spread, share, directory))  # type: ignore[arg-type]
            write_small(directory)
            save_values(directory, progress.to_values())
            return known

        found = None
        with world.together():
            if world.is_first:
                try:
                    found = commit(progress, write)
                finally:
                    if not begun:
                        world.tell("")  # the others wait for a directory to write into
            elif directory := world.tell(""):
                write_together(spread, share, Path(directory))  # type: ignore[arg-type]
        return told(found)

    def told(commit: Commit | None) -> Commit:
        told = world.tell({"path": str(commit.path), "size": str(commit.size)} if commit else {})
        return Commit(Path(told["path"]), int(told["size"]))

    return save_together if spread.is_cut else save


def remembered_by_all(objective: Objective, world: World) -> dict[str, Tensor]:
    """What the objective remembers, with the rows of all processes in their order; all must call this."""
    found = {}
    for name, mine in objective.state().items():
        found[OBJECTIVE + name] = mine
        if world.size > 1:
            rows = int(world.sums([len(mine)])[0])
            start, stop = world.share(rows)
            whole = torch.zeros((rows, *mine.shape[1:]))
            whole[start:stop] = mine.detach().cpu()
            found[OBJECTIVE + name] = world.add(whole).to(mine.dtype)
    return found


def partner_weights(objective: Objective) -> dict[str, Tensor]:
    """The weights of the objective's second network."""
    partner = objective.partner
    return {} if partner is None else {PARTNER + name: p.detach() for name, p in partner.named_parameters()}


def _state_of_all(spread: Any, optimizer: Optimizer, objective: Objective) -> dict[str, tuple[str | None, Tensor]]:
    """The same tensors and the optimizer's, where they are cut up, each with the parameter whose rows it has."""
    found: dict[str, tuple[str | None, Tensor]] = {n: (parameter_of(n), t) for n, t in optimizer.state().items()}
    found |= {name: (None, tensor) for name, tensor in remembered_by_all(objective, spread.world).items()}
    if objective.partner is not None:
        for name, p in objective.partner.named_parameters():
            own = spread.names[id(p)]
            found[PARTNER + name] = (own, spread.rows[own].to_local())
    return found


def checkpoint_bytes(
    model: nn.Module, optimizer: Optimizer, objective: Objective, spread: Spread, best: Best | None = None
) -> int:
    """Bytes of the tensors in a checkpoint; with `best` it may hold the newest weights beside the best ones.

    Where they are cut up all processes must call this.
    """
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    own = [*objective.state().values()] * spread.world.size + [*partner_weights(objective).values()]
    beside = sum(t.numel() * t.element_size() for t in own)
    state = sum(t.numel() * t.element_size() for t in optimizer.state().values())
    if spread.is_cut:
        state = int(spread.world.sums([state])[0])
    return state + beside + weights * (1 if best is None else 2)


@torch.no_grad()
def restore_weights(
    resumption: Resumption, model: Any, objective: Objective, best: Best | None = None, world: World = ALONE
) -> Progress:
    """Copy the weights and what the objective remembers, this process's rows of it, into place; return where the run
    was."""
    path = resumption.checkpoint.path
    stored = read_model(path, verify=False)  # it was verified when it was chosen
    progress = Progress.from_values(load_values(path))
    model.load_state_dict(stored.state_dict())
    with open_state(path) as tensors:
        newest = {name: tensors[LAST + name] for name in dict(model.named_parameters()) if LAST + name in tensors}
        model.load_state_dict(newest, strict=False)
        if best is not None and progress.best_score is not None:
            best.model = stored.to(next(model.parameters()).device)
        remembered = _named(tensors, OBJECTIVE)
        objective.load_state({name: rows[slice(*world.share(len(rows)))] for name, rows in remembered.items()})
        if objective.partner is not None:
            # A parameter that both networks share is stored with both, and the same.
            objective.partner.load_state_dict(_named(tensors, PARTNER), strict=False)
    return progress


@torch.no_grad()
def restore_optimizer(resumption: Resumption, optimizer: Optimizer, spread: Spread) -> None:
    """Copy the optimizer's state into place; of what is cut up, this process's rows."""
    path, live = resumption.checkpoint.path, optimizer.state()
    with open_state(path) as tensors:
        stored = {name for name in tensors if not name.startswith((LAST, OBJECTIVE, PARTNER))}
        if live.keys() != stored:
            odd = sorted(live.keys() ^ stored)
            raise InputRefused(f"{path}: the optimizer state is another optimizer's (first difference: {odd[0]})")
        for name, tensor in live.items():
            found, parameter = tensors[name], parameter_of(name)
            wanted = tuple(tensor.shape) if parameter is None else spread.shapes[parameter]
            if tuple(found.shape) != wanted:
                raise InputRefused(f"{path}: optimizer state {name} is {tuple(found.shape)}")
            tensor.copy_(found if parameter is None else spread.part(parameter, found))


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}


class Best:
    """The weights with the best validation score so far; `model` is None until there was one."""

    def __init__(self) -> None:
        self.model: Any = None

    def note(self, event: Event, model: nn.Module) -> None:
        """Copy the weights when an evaluation found them better than all before."""
        if isinstance(event, Evaluation) and event.better:
            if self.model is None:
                self.model = copy.deepcopy(model)
            else:
                self.model.load_state_dict(model.state_dict())

    def newest_weights(self, model: nn.Module, progress: Progress) -> dict[str, Tensor]:
        """What a checkpoint must hold besides the best weights for the run to go on; empty if they are the same."""
        if self.model is None or progress.best_step == progress.step:
            return {}
        return {LAST + name: p.detach() for name, p in model.named_parameters()}


def warn_of_other_versions(resumption: Resumption, spread: Spread, emit: Listener) -> None:
    """Say when bit-for-bit equality with an uninterrupted run is not to be expected."""
    then = resumption.checkpoint.manifest
    threads = then.meta.get("threads")
    before, now = (then.meta.get("processes", 1), then.meta.get("parallel", "")), (spread.world.size, spread.kind)
    if before != now:
        shown = " -> ".join(f"{n} process{'es' if n > 1 else ''} {kind}".strip() for n, kind in (before, now))
        emit(Warned(resumption.step, f"{shown}: the same examples, but last digits may differ, and dropout does"))
    if str(torch.__version__) != then.versions.get("torch"):
        emit(Warned(resumption.step, f"torch is {torch.__version__} now and was {then.versions.get('torch')}"))
    if threads not in (None, torch.get_num_threads()):
        emit(Warned(resumption.step, f"{torch.get_num_threads()} threads now, {threads} then: last digits may differ"))
