"""What must hold between keys: each is legal alone, together they may not be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmkit.errors import UsageError
from llmkit.models.family import Family, Kind
from llmkit.models.registry import load_family
from llmkit.recipe.keys import unread_keys
from llmkit.recipe.problems import Report, Spot
from llmkit.recipe.schema import ObjectiveSettings
from llmkit.recipe.size import MAX_PARAMETERS, approximate_parameters, in_words, likely_vocab_size
from llmkit.recipe.tasks import FINE_TUNING, TASKS, Task


@dataclass
class Draft:
    """A recipe on its way: checked values by dotted key, where each was given, and which have been found wrong.

    guessed: keys that a misspelt one probably meant; they are not missing too.
    """

    source: str
    report: Report
    sections: set[str]
    explicit: set[str]
    places: Mapping[str, tuple[Spot | None, str | None]]
    values: dict[str, Any] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    guessed: set[str] = field(default_factory=set)

    def fail(
        self,
        path: str,
        code: str,
        message: str,
        fix: str | None = None,
        *,
        at: Spot | None = None,
        pointer: str | None = None,
        suggestions: tuple[str, ...] = (),
    ) -> None:
        """Report a problem with one key, at the line or the flag that gave it."""
        spot, flag = self.places.get(path, (None, None))
        self.failed.add(path)
        where = None if flag else (at or spot)
        self.report.add(
            code, f"`{path}` {message}", where, origin=flag, pointer=pointer, fix=fix, suggestions=suggestions
        )

    def blame(self, *paths: str) -> str:
        """Which of several keys that do not fit together to point at: one given by a flag, else the first."""
        flagged = [p for p in paths if self.places.get(p, (None, None))[1]]
        return [*flagged, *paths, ""][0]

    def get(self, path: str) -> Any:
        """The value of a key; None when it is wrong or not there."""
        return None if path in self.failed else self.values.get(path)


def check_together(draft: Draft) -> None:
    """Note every contradiction between keys that are fine by themselves."""
    family = load_family(draft.values["model.family"]) if draft.get("model.family") else None
    _check_start(draft)
    _check_objective(draft, family)
    _check_read(draft)
    _check_lengths(draft)
    if family:
        _check_model(draft, family)
    if draft.get("data.train") == "-" and draft.get("data.validation") == "-":
        draft.fail(
            "data.validation", "conflict", "is stdin, and so is data.train", "hold out a part instead: remove it"
        )


def _check_start(draft: Draft) -> None:
    """Random weights or a checkpoint: one of the two, and only what belongs to it."""
    has_model = "model" in draft.sections
    if has_model and "base" in draft.explicit:
        fix = "keep `model` to train from random weights, or `base` to go on from a checkpoint"
        draft.fail("base", "conflict", "starts from a checkpoint, but the recipe also has a `model` section", fix)
    elif not has_model and "base" not in draft.explicit:
        fix = "add `model` (random weights) or `base: null` (fine-tune the newest checkpoint that fits)"
        draft.report.add("missing", "neither `model` nor `base` is given", fix=fix)
    elif not has_model and "tokenizer" in draft.sections:
        path = next((p for p in draft.explicit if p.startswith("tokenizer.")), "tokenizer")
        draft.fail(path, "conflict", "has no use: a checkpoint brings its own tokenizer", "remove the section")


def _check_objective(draft: Draft, family: Family | None) -> None:
    name = draft.get("objective.name")
    has_model = "model" in draft.sections
    if name is None:
        return
    task, fine_tunes = TASKS[name], name in FINE_TUNING
    if fine_tunes and has_model and "base" not in draft.explicit:
        fix = "replace the sections `model` and `tokenizer` by `base: null`, or choose masked or causal"
        draft.fail("objective.name", "conflict", f"is {name}, which fine-tunes a checkpoint and needs `base`", fix)
    elif not fine_tunes and not has_model and "base" in draft.explicit:
        fix = "fine-tuning knows classify; to train from random weights give `model` and `tokenizer`, not `base`"
        draft.fail("objective.name", "conflict", f"is {name}, which starts from random weights", fix)
    elif not fine_tunes and family:
        _check_family(draft, family, task)
    if name == "distillation":
        _check_teacher(draft)
    if draft.get("objective.next_sentence") and draft.get("objective.sentence_order"):
        path = draft.blame("objective.sentence_order", "objective.next_sentence")
        draft.fail(path, "conflict", "is one way to judge pairs, and the other is chosen too", "choose one of the two")


def _check_teacher(draft: Draft) -> None:
    """There must be one, and unless the recipe names a tokenizer, it is the teacher's."""
    teacher = draft.get("objective.teacher")
    if teacher is None and "objective.teacher" not in draft.failed:
        fix = "name a checkpoint: objective.teacher: bert-mini (after llmkit pretrain bert-mini)"
        draft.fail("objective.teacher", "missing", "is not given, and there is nobody to learn from", fix)
    elif draft.get("tokenizer.path") is None and "tokenizer.path" not in draft.failed:
        draft.values["tokenizer.path"] = teacher


def _check_family(draft: Draft, family: Family, task: Task) -> None:
    """The objective must train this kind of model, and the model must have the head for it."""
    pairs = [k for k in ("next_sentence", "sentence_order") if draft.get(f"objective.{k}")]
    settings = ObjectiveSettings(
        task.name, next_sentence="next_sentence" in pairs, sentence_order="sentence_order" in pairs
    )
    if not task.fits(family):
        others = [t.name for t in TASKS.values() if t.name not in FINE_TUNING and family.name in t.examples]
        needed = " or ".join(f"{'an' if k is not Kind.DECODER else 'a'} {k.value}" for k in task.kinds)
        other = f", or objective.name: {' or '.join(others)}" if others else ""
        draft.fail(
            "objective.name",
            "conflict",
            f"is {task.name}, which needs {task.needs or needed}; {family.name} is not one",
            f"choose a family such as {' or '.join(task.examples)}{other}",
        )
    elif task.head(family, settings) is None and pairs:
        fix = f"write {pairs[0]}: false"
        draft.fail(f"objective.{pairs[0]}", "conflict", f"is true, but {family.name} has no head for it", fix)
    elif task.head(family, settings) is None:
        fix = f"choose a family such as {' or '.join(task.examples)}"
        draft.fail("objective.name", "conflict", f"is {task.name}, for which {family.name} has no head", fix)


def _check_read(draft: Draft) -> None:
    """A key that the objective does not read would do nothing: whoever gave it expects otherwise."""
    if not draft.get("objective.name"):
        return
    unread = unread_keys(draft.get("objective.name"))
    for path in sorted(draft.explicit & unread.keys()):
        if path not in draft.failed:
            only = unread[path].key.only
            message = f"does nothing here: only {', '.join(only)} read{'' if len(only) > 1 else 's'} it"
            draft.fail(path, "conflict", f"{message}, and objective.name is {draft.get('objective.name')}", "remove it")


def _check_lengths(draft: Draft) -> None:
    seq_len, longest = draft.get("train.seq_len"), draft.get("model.max_seq_len")
    if seq_len and longest and "train.seq_len" not in draft.explicit:
        draft.values["train.seq_len"] = min(seq_len, longest)
    elif seq_len and longest and seq_len > longest:
        message = f"is {seq_len}, longer than model.max_seq_len, which is {longest}"
        if draft.blame("train.seq_len", "model.max_seq_len") == "train.seq_len":
            draft.fail("train.seq_len", "conflict", message, f"use at most {longest}, or raise model.max_seq_len")
        else:
            fix = f"add --set train.seq_len={longest}"
            draft.fail("model.max_seq_len", "conflict", f"is {longest}, less than train.seq_len, {seq_len}", fix)
    steps, warmup = draft.get("train.steps"), draft.get("train.warmup_steps")
    if steps and warmup and warmup > steps:
        tenth = max(1, steps // 10)
        if draft.blame("train.warmup_steps", "train.steps") == "train.warmup_steps":
            message = f"is {warmup}, more than train.steps, which is {steps}"
            draft.fail("train.warmup_steps", "conflict", message, f"a tenth of the steps is usual: {tenth}")
        else:
            message = f"is {steps}, less than train.warmup_steps, which is {warmup}"
            draft.fail("train.steps", "conflict", message, f"add --set train.warmup_steps={tenth}")


def _check_model(draft: Draft, family: Family) -> None:
    if any(path.startswith("model.") for path in draft.failed):
        return
    fields = {
        p.removeprefix("model."): v for p, v in draft.values.items() if p.startswith("model.") and p != "model.family"
    }
    vocab_size = likely_vocab_size(draft.get("tokenizer.algorithm"), draft.get("tokenizer.vocab_size"))
    try:
        config = family.config_class(vocab_size=vocab_size, **fields)
    except UsageError as error:
        named = [f"model.{n}" for n in re.findall(r"[a-z_]+", error.message) if n in fields]
        path = draft.blame(*(p for p in named if p in draft.explicit))
        if path and error.message.startswith(path.removeprefix("model.") + " "):
            draft.fail(path, "conflict", error.message.partition(" ")[2], error.hint)
        else:
            spot, flag = draft.places.get(path, (None, None))
            draft.report.add(
                "conflict", f"the model cannot be built: {error.message}", spot, origin=flag, fix=error.hint
            )
        return
    except TypeError:
        return  # a required key is missing, and that is reported
    fields |= {name: getattr(config, name) for name in ("n_kv_heads", "head_dim", "d_ff")}
    count = approximate_parameters(fields, vocab_size)
    if count > MAX_PARAMETERS:
        sizes = ("d_model", "n_layers", "d_ff", "max_seq_len")
        blame = max(sizes, key=lambda n: float(fields.get(n) or 0) ** (2 if n == "d_model" else 1))
        draft.fail(
            f"model.{blame}",
            "range",
            f"makes a model of {in_words(count)} parameters; the limit is {in_words(MAX_PARAMETERS)}",
            "make the model smaller",
        )
