"""Putting a fresh head on a stored base model: which weights are new, which are left out, and what the new ones are."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from llmkit.errors import InputRefused, UsageError

if TYPE_CHECKING:
    from llmkit.models.config import ModelConfig
    from llmkit.models.family import Family
    from llmkit.models.two_towers import AnyModel


# Where the parts of a model lie that belong to a head; all others must come from the checkpoint.
_ON_TOP = ("head.", "pair_head.", "pooler.")


def hidden_names(family: Family, config: ModelConfig, target: ModelConfig) -> set[str]:
    """Stored tensors to act as if they were not there: the scores of other classes than `target` has."""
    import torch

    from llmkit.weights.rules import Rule

    if not config.labels or target.labels == config.labels:
        return set()
    # What changes its shape with the number of classes belongs to the classes, whatever the family calls it.
    with torch.device("meta"):
        ours = dict(family.build(config).named_parameters())
        more = dict(family.build(replace(config, labels=(*config.labels, "one more\0"))).named_parameters())
    scores = [name for name, parameter in ours.items() if parameter.shape != more[name].shape]
    rules = [rule for rule in family.weight_rules(config) if isinstance(rule, Rule)]
    wanted = [(rule, w) for rule in rules for name in scores for w in rule.match(name) or ()]
    return {spelling for rule, w in wanted for spelling in rule.spellings(w)}


def fill_fresh(model: AnyModel, names: Collection[str], family: Family, config: ModelConfig) -> None:
    """Give the parameters `names`, which no tensor filled, their first values, drawn as for a new model.

    They are drawn by building the model with a single layer, where the family lets depth be chosen alone: a head does
    not depend on the depth below it.
    """
    import torch
    from torch import nn

    if not names:
        return
    try:
        shallow = replace(config, n_layers=1)
    except UsageError:  # other settings say how the layers are grouped
        shallow = config
    with torch.device("cpu"):
        drawn = dict(family.build(shallow).named_parameters())
    if inside := sorted(name for name in names if name not in drawn or not name.startswith(_ON_TOP)):
        raise InputRefused(f"the checkpoint has no weights for {inside[0]}, which belongs to the base model")
    for name in names:
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, nn.Parameter(drawn[name].detach()))


def say(notice: Callable[[str], None], fresh: Collection[str], left_out: Collection[str]) -> None:
    """Tell what a change of heads did to the weights."""
    if fresh:
        notice(f"freshly drawn: {', '.join(sorted(fresh))}")
    if left_out:
        notice(f"left out of the checkpoint: {', '.join(sorted(left_out))}")
