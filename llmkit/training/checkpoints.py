"""What a training checkpoint holds, how it is committed, and how a run is put back where it was."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from llmkit.checkpoint.hf_layout import read_model, write_model
from llmkit.checkpoint.state import load_state, save_state
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import InputRefused
from llmkit.recipe.resolved import digest, to_yaml
from llmkit.recipe.schema import Recipe
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.disk import SMALL_FILES
from llmkit.training.events import Evaluation, Event, Listener, Warned
from llmkit.training.objectives.objective import Objective
from llmkit.training.optim import Optimizer
from llmkit.training.progress import Progress
from llmkit.training.resume import RECIPE, Resumption
from llmkit.training.trainer import Commit

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
    best: Best | None = None,
) -> Callable[[Progress], Commit]:
    """The function that commits one checkpoint and then removes the ones no longer kept."""
    text = to_yaml(recipe)
    n_bytes = checkpoint_bytes(model, optimizer, objective, best) + SMALL_FILES
    full_meta = {**meta, "recipe": digest(recipe), "threads": torch.get_num_threads()}

    def save(progress: Progress) -> Commit:
        def write(directory: Path) -> None:
            write_model(directory, best.model if best is not None and best.model is not None else model)
            tokenizer.save(directory)
            (directory / RECIPE).write_text(text, encoding="utf-8")
            newest = best.newest_weights(model, progress) if best is not None else {}
            state = {**optimizer.state(), **newest, **objective_state(objective)}
            save_state(directory, state, progress.to_values())

        before()
        checkpoint = run.save(progress.step, write, meta=full_meta, predicted_bytes=n_bytes)
        run.prune(recipe.train.keep)
        return Commit(checkpoint.path, checkpoint.manifest.n_bytes)

    return save


def objective_state(objective: Objective) -> dict[str, Tensor]:
    """What the objective must find again: what it remembers, and the weights of its second network."""
    found = {OBJECTIVE + name: tensor for name, tensor in objective.state().items()}
    if objective.partner is not None:
        found |= {PARTNER + name: p.detach() for name, p in objective.partner.named_parameters()}
    return found


def checkpoint_bytes(model: nn.Module, optimizer: Optimizer, objective: Objective, best: Best | None = None) -> int:
    """Bytes of the tensors in a checkpoint; with `best` it may hold the newest weights beside the best ones."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    kept = {**optimizer.state(), **objective_state(objective)}
    state = sum(t.numel() * t.element_size() for t in kept.values())
    return state + weights * (1 if best is None else 2)


@torch.no_grad()
def restore(
    resumption: Resumption, model: Any, optimizer: Optimizer, objective: Objective, best: Best | None = None
) -> Progress:
    """Copy the weights, the optimizer's state and the objective's into place; return where the run was."""
    path = resumption.checkpoint.path
    stored = read_model(path, verify=False)  # it was verified when it was chosen
    tensors, values = load_state(path)
    progress = Progress.from_values(values)
    model.load_state_dict(stored.state_dict())
    newest = {name: tensors.pop(LAST + name) for name in dict(model.named_parameters()) if LAST + name in tensors}
    model.load_state_dict(newest, strict=False)
    if best is not None and progress.best_score is not None:
        best.model = stored.to(next(model.parameters()).device)
    objective.load_state(_taken(tensors, OBJECTIVE))
    if objective.partner is not None:
        # A parameter that both networks share is stored with both, and the same.
        objective.partner.load_state_dict(_taken(tensors, PARTNER), strict=False)
    live = optimizer.state()
    if live.keys() != tensors.keys():
        odd = sorted(live.keys() ^ tensors.keys())
        raise InputRefused(f"{path}: the optimizer state is another optimizer's (first difference: {odd[0]})")
    for name, tensor in live.items():
        if tensor.shape != tensors[name].shape:
            raise InputRefused(f"{path}: optimizer state {name} is {tuple(tensors[name].shape)}")
        tensor.copy_(tensors[name])
    return progress


def _taken(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it; they are taken out."""
    return {name.removeprefix(prefix): tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}


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


def warn_of_other_versions(resumption: Resumption, emit: Listener) -> None:
    """Say when bit-for-bit equality with an uninterrupted run is not to be expected."""
    then = resumption.checkpoint.manifest
    threads = then.meta.get("threads")
    if str(torch.__version__) != then.versions.get("torch"):
        emit(Warned(resumption.step, f"torch is {torch.__version__} now and was {then.versions.get('torch')}"))
    if threads not in (None, torch.get_num_threads()):
        emit(Warned(resumption.step, f"{torch.get_num_threads()} threads now, {threads} then: last digits may differ"))
