"""Apply weight rules, strictly both ways: nothing left over, nothing missing, nothing misshapen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from llmkit.errors import InputRefused
from llmkit.weights.rules import Alias, Computed, Ignore, Rule

Rules = Sequence["Rule | Ignore"]
_LEGACY = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


def load_into(
    model: nn.Module, rules: Rules, tensors: Mapping[str, Tensor], *, known: Collection[str] | None = None
) -> list[str]:
    """Fill every parameter of `model` from checkpoint tensors (Hugging Face names).

    Parameters on the meta device take the stored tensor itself, dtype and device included; others keep theirs and the
    values are copied. Raises InputRefused naming the tensor that is missing, left over, misshapen, of the wrong kind,
    or stored twice with different values.

    known: only to put a fresh head on a stored base model: the names that the stored model has (`stored_names`).
    Parameters that it never had then stay as they are and are returned; tensors that only it needs are passed over.
    """
    stored = _Stored(tensors)
    plan: list[tuple[str, nn.Parameter, Rule, list[str]]] = []
    missing: list[str] = []
    fresh: list[str] = []
    for name, parameter in model.named_parameters():
        rule, wanted = _rule_for(rules, name)
        found = [stored.find(rule.spellings(w)) for w in wanted]
        if None in found:
            found, rule = _by_alias(rules, name, stored) or (found, rule)
        complete = [f for f in found if f is not None]
        if len(complete) == len(found):
            plan.append((name, parameter, rule, complete))
        elif known is not None and not any(s in known for w in wanted for s in rule.spellings(w)):
            fresh.append(name)
        else:
            missing += [rule.spellings(w)[0] for w, f in zip(wanted, found, strict=True) if f is None]
    if missing:
        raise InputRefused(f"the checkpoint lacks tensor {_list(missing)}", _hint(stored.names, missing))
    used = {f for *_, sources in plan for f in sources}
    used |= _check_aliases(rules, [name for name, *_ in plan], stored)
    left = [n for n in stored.names if n not in used and not any(_ignored(r, n) for r in rules)]
    left = [n for n in left if known is None or n not in known]
    if left:
        raise InputRefused(
            f"the checkpoint holds tensor {_list(left)}, which the model of its config.json has no place for",
            "the config.json beside it may belong to another model",
        )
    for _, parameter, rule, sources in plan:
        _check_tensors(parameter, rule, sources, stored)
    _check_computed(rules, stored)
    # Nothing was written so far: a refused checkpoint leaves the model as it was.
    owners = _owners(model)
    for _, parameter, rule, sources in plan:
        value = rule.join([stored[source] for source in sources])
        if parameter.is_meta:
            fresh_parameter = nn.Parameter(value.contiguous(), requires_grad=parameter.requires_grad)
            for module, attribute in owners[id(parameter)]:
                setattr(module, attribute, fresh_parameter)
        else:
            with torch.no_grad():
                parameter.copy_(value)
    return fresh


def export(model: nn.Module, rules: Rules) -> dict[str, Tensor]:
    """Every parameter under its Hugging Face name and layout, tied weights once, as transformers saves them.

    Tensors may be views of the parameters; none overlap.
    """
    tensors = export_some(dict(model.named_parameters()), rules)
    like = next(model.parameters())
    return tensors | {name: value.to(like) for name, value in computed(rules).items()}


def export_some(parameters: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """`export` for some of a model's parameters, by our names; without what rules compute from no parameter."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        rule, wanted = _rule_for(rules, name)
        for theirs, part in zip(wanted, rule.split(parameter.detach()), strict=True):
            tensors[rule.spellings(theirs)[0]] = part
        for alias in rules:
            if isinstance(alias, Alias) and alias.written:
                for theirs in alias.match(name) or ():
                    tensors[alias.spellings(theirs)[0]] = parameter.detach().clone()
    return tensors


def computed(rules: Rules) -> dict[str, Tensor]:
    """Tensors of the Hugging Face layout that are no parameters of ours."""
    return dict(rule.written() for rule in rules if isinstance(rule, Computed))


def stored_names(model: nn.Module, rules: Rules) -> set[str]:
    """All names under which a checkpoint of `model` may hold its tensors, with and without prefix."""
    names: set[str] = set()
    for name, _ in model.named_parameters():
        for rule in rules:
            if isinstance(rule, Rule):
                names |= {s for w in rule.match(name) or () for s in rule.spellings(w)}
    return names


class _Stored:
    """Checkpoint tensors by today's names; remembers what the file calls them."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._file_names: dict[str, str] = {}
        for name in tensors:
            modern = name
            for old, new in _LEGACY.items():
                if name.endswith(old):
                    modern = name.removesuffix(old) + new
            if modern in self._file_names:
                raise InputRefused(f"the checkpoint holds {modern!r} twice, also as {name!r}")
            self._file_names[modern] = name

    @property
    def names(self) -> Collection[str]:
        return self._file_names.keys()

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[self._file_names[name]]

    def find(self, spellings: Iterable[str]) -> str | None:
        return next((s for s in spellings if s in self._file_names), None)


def _rule_for(rules: Rules, name: str) -> tuple[Rule, list[str]]:
    for rule in rules:
        if isinstance(rule, Rule) and not isinstance(rule, Alias):
            wanted = rule.match(name)
            if wanted is not None:
                return rule, wanted
    raise LookupError(f"no weight rule for parameter {name!r}; the family's weight_rules must cover it")


def _by_alias(rules: Rules, name: str, stored: _Stored) -> tuple[list[str | None], Rule] | None:
    """The other name of a tied weight, where only that is stored."""
    for rule in rules:
        if isinstance(rule, Alias) and (rule.stands_in or not rule.may_differ):
            found = [stored.find(rule.spellings(w)) for w in rule.match(name) or ()]
            if found and None not in found:
                return found, rule
    return None


def _check_aliases(rules: Rules, names: Sequence[str], stored: _Stored) -> set[str]:
    """Names of stored aliases, each compared with the tensor it repeats."""
    seen: set[str] = set()
    for alias in rules:
        if not isinstance(alias, Alias):
            continue
        for name in names:
            copies = [stored.find(alias.spellings(w)) for w in alias.match(name) or ()]
            if not copies or copies[0] is None:
                continue
            seen.add(copies[0])
            rule, wanted = _rule_for(rules, name)
            original = stored.find(rule.spellings(wanted[0]))
            if original is None or alias.may_differ:
                continue
            if not torch.equal(stored[copies[0]], stored[original]):
                raise InputRefused(
                    f"tensors {copies[0]!r} and {original!r} differ, but config.json ties them",
                    "set tie_word_embeddings to false if they are meant to differ",
                )
    return seen


def _check_computed(rules: Rules, stored: _Stored) -> None:
    """Tensors that we compute must hold what we compute, to the precision of half floats."""
    for rule in rules:
        for name in stored.names if isinstance(rule, Computed) else ():
            if isinstance(rule, Computed) and rule.covers(name):
                made, held = rule.make(), stored[name]
                if made.shape != held.shape or not torch.allclose(made, held.to(made), rtol=0, atol=0.01):
                    raise InputRefused(
                        f"tensor {name!r} is not the table that its config.json makes llmkit compute",
                        "sinusoidal positions follow from the width and the length",
                    )


def _check_tensors(parameter: nn.Parameter, rule: Rule, sources: Sequence[str], stored: _Stored) -> None:
    for source, expected in zip(sources, rule.split(parameter.detach()), strict=True):
        tensor = stored[source]
        if tensor.shape != expected.shape:
            raise InputRefused(
                f"tensor {source!r} is {tuple(tensor.shape)}; "
                f"the model of its config.json expects {tuple(expected.shape)}",
                "the config.json beside it may belong to another model",
            )
        if tensor.is_floating_point() != parameter.is_floating_point():
            raise InputRefused(f"tensor {source!r} holds {str(tensor.dtype).removeprefix('torch.')}, not floats")


def _ignored(rule: Rule | Ignore, name: str) -> bool:
    return isinstance(rule, Ignore) and rule.covers(name)


def _owners(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Where each parameter hangs; tied ones hang in several places."""
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for attribute, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((module, attribute))
    return owners


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(n[:200]) for n in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _hint(names: Collection[str], missing: Sequence[str]) -> str:
    if not names:
        return "it holds no tensors at all"
    return f"it holds {len(names)} tensors, {len(missing)} that config.json calls for are not among them"
