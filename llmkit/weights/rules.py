"""Two-way rules between the tensors of a Hugging Face checkpoint and our parameters.

A rule names modules by pattern; `{i}` stands for the layer's number (`{j}` for a number inside it), and the leaf
(`.weight`, `.bias`) follows by itself. Patterns may also name a whole tensor. Rules are data: llmkit.weights.convert
applies them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

_LEAF = r"(?P<leaf>(?:\.(?:weight|bias))?)"


@dataclass(frozen=True)
class Rule:
    """theirs <-> ours, unchanged; the base of the other rules.

    prefix: what Hugging Face puts before the name when a head sits on the base model ("bert."). Files with and without
    are read, and those with a prefix in `also_read`; `write_prefix` says which is written.
    """

    theirs: str
    ours: str
    prefix: str = field(default="", kw_only=True)
    write_prefix: bool = field(default=True, kw_only=True)
    also_read: tuple[str, ...] = field(default=(), kw_only=True)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{([a-z])\\\}", r"(?P<\1>\\d+)", re.escape(self.ours)) + _LEAF)

    def match(self, name: str) -> list[str] | None:
        """Checkpoint names, without prefix, that our parameter `name` is made from; None if the rule is not for it."""
        found = self._pattern.fullmatch(name)
        if found is None:
            return None
        numbers = {key: value for key, value in found.groupdict().items() if key != "leaf"}
        return [stem.format(**numbers) + found["leaf"] for stem in self.stems()]

    def stems(self) -> Sequence[str]:
        return (self.theirs,)

    def spellings(self, name: str) -> list[str]:
        """Ways a checkpoint may spell a tensor, the one we write first."""
        both = [self.prefix + name, name] if self.write_prefix else [name, self.prefix + name]
        return [*(both if self.prefix else [name]), *(prefix + name for prefix in self.also_read)]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """Checkpoint tensors, in the order of `match`, to our parameter."""
        return tensors[0]

    def split(self, value: Tensor) -> list[Tensor]:
        """The inverse of `join`."""
        return [value]


class Rename(Rule):
    """Same tensor under another name."""


class Transpose(Rule):
    """Linear weights stored with inputs first (GPT-2's Conv1D); vectors such as biases stay as they are."""

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0].t() if tensors[0].dim() == 2 else tensors[0]

    def split(self, value: Tensor) -> list[Tensor]:
        return [value.t().contiguous() if value.dim() == 2 else value]


@dataclass(frozen=True)
class JoinRows(Rule):
    """Several tensors of theirs, one below the other, make one of ours (separate q, k, v -> qkv).

    rows: height of each part, which is also how ours is cut up again.
    """

    parts: tuple[str, ...] = field(kw_only=True)
    rows: tuple[int, ...] = field(kw_only=True)

    def stems(self) -> Sequence[str]:
        return [f"{self.theirs}{part}" for part in self.parts]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(tensors))

    def split(self, value: Tensor) -> list[Tensor]:
        return list(value.split(self.rows))


@dataclass(frozen=True)
class StackExperts(Rule):
    """One matrix per expert, or several of equal height one below the other, to one tensor (n_experts, rows, columns).

    theirs: what comes before the part's name, with `{e}` for the expert's number. Ours is a tensor's whole name.
    """

    n_experts: int = field(kw_only=True)
    parts: tuple[str, ...] = field(kw_only=True)

    def match(self, name: str) -> list[str] | None:
        found = self._pattern.fullmatch(name)
        if found is None:
            return None
        numbers = {key: value for key, value in found.groupdict().items() if key != "leaf"}
        return [stem.format(**numbers, e=e) + ".weight" for e in range(self.n_experts) for stem in self.stems()]

    def stems(self) -> Sequence[str]:
        return [f"{self.theirs}{part}" for part in self.parts]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        n = len(self.parts)
        return torch.stack([torch.cat(list(tensors[i : i + n])) for i in range(0, len(tensors), n)])

    def split(self, value: Tensor) -> list[Tensor]:
        return [part for expert in value.unbind() for part in expert.chunk(len(self.parts))]


@dataclass(frozen=True)
class Regroup(Rule):
    """Rows stored group by group (all of head 0, then all of head 1 ...) to rows kept part by part (all q, all k, ...).

    parts: rows of each part within one group; a group of BLOOM is one head's (q, k, v), of Falcon one key head with its
    query heads. Vectors such as biases are regrouped alike.
    """

    groups: int = field(kw_only=True)
    parts: tuple[int, ...] = field(kw_only=True)

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        theirs = tensors[0].unflatten(0, (self.groups, sum(self.parts)))
        return torch.cat([part.flatten(0, 1) for part in theirs.split(self.parts, 1)])

    def split(self, value: Tensor) -> list[Tensor]:
        parts = value.split([self.groups * rows for rows in self.parts])
        return [torch.cat([part.unflatten(0, (self.groups, -1)) for part in parts], 1).flatten(0, 1)]


@dataclass(frozen=True)
class Reshape(Rule):
    """The same numbers in another shape; theirs: the checkpoint's, ours_shape: ours."""

    their_shape: tuple[int, ...] = field(kw_only=True)
    our_shape: tuple[int, ...] = field(kw_only=True)

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0].reshape(self.our_shape)

    def split(self, value: Tensor) -> list[Tensor]:
        return [value.reshape(self.their_shape)]


@dataclass(frozen=True)
class Alias(Rule):
    """A second name under which the checkpoint may also hold our parameter (tied weights).

    Where both are stored they must be equal, or the file would mean another model than we build; not so when
    `may_differ`, for a tensor that is stored but not used. `written`: whether we store it too. `stands_in`: used
    all the same where only it is stored.
    """

    may_differ: bool = field(default=False, kw_only=True)
    stands_in: bool = field(default=False, kw_only=True)
    written: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class OrElse(Rule):
    """Same tensor under another name; a checkpoint that lacks it means a copy of another one, `otherwise`."""

    otherwise: str = field(kw_only=True)

    def spellings(self, name: str) -> list[str]:
        return [*super().spellings(name), self.otherwise]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        return tensors[0].clone()  # parameters on the meta device take what they are given: it must be theirs alone


@dataclass(frozen=True)
class Ignore:
    """Checkpoint tensors that take no part in what this head computes: stored buffers, weights of other heads."""

    theirs: str
    prefix: str = field(default="", kw_only=True)

    def covers(self, name: str) -> bool:
        pattern = re.sub(r"\\\{[a-z]\\\}", r"\\d+", re.escape(self.theirs))
        return re.fullmatch(f"(?:{re.escape(self.prefix)})?{pattern}", name) is not None


@dataclass(frozen=True)
class Computed(Ignore):
    """A tensor that checkpoints store and we compute: passed over when read, made anew when written."""

    make: Callable[[], Tensor] = field(kw_only=True)
    write_prefix: bool = field(default=True, kw_only=True)

    def written(self) -> tuple[str, Tensor]:
        return (self.prefix if self.write_prefix else "") + self.theirs, self.make()


def under(
    prefix: str, rules: Sequence[Rule | Ignore], *, write: bool, also: tuple[str, ...] = ()
) -> list[Rule | Ignore]:
    """The rules for a base model that a checkpoint may hold with or without `prefix`; `write`: with, when saving.

    also: further prefixes that are read, where the classes for some heads have a name of their own for the base model.
    """
    placed: list[Rule | Ignore] = []
    for rule in rules:
        if isinstance(rule, Computed):
            placed.append(replace(rule, prefix=prefix, write_prefix=write))
        elif isinstance(rule, Ignore):
            placed.append(replace(rule, prefix=prefix))
        else:
            placed.append(replace(rule, prefix=prefix, write_prefix=write, also_read=also))
    return placed
