"""Which model a command works with: the one named, or the newest in the store that can do the job."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import InputRefused, UsageError
from llmkit.models.family import Family, Kind

if TYPE_CHECKING:
    from llmkit.api import Loaded
    from llmkit.models.config import ModelConfig


@dataclass(frozen=True)
class Job:
    """Something a model may be able to do.

    verb: as in "it cannot VERB"; command: what does it; recipe: what trains a model for it.
    """

    verb: str
    command: str
    recipe: str
    can: Callable[[Family, ModelConfig], bool]


GENERATE = Job(
    "generate text",
    "llmkit generate",
    "llmkit pretrain gpt-mini",
    lambda family, config: (
        (family.kind, config.head) in ((Kind.DECODER, "causal_lm"), (Kind.ENCODER_DECODER, "seq2seq"))
    ),
)
FILL_MASK = Job(
    "fill masks",
    "llmkit predict fill-mask",
    "llmkit pretrain bert-mini",
    lambda family, config: config.head in ("masked_lm", "pretraining"),
)
CLASSIFY = Job(
    "classify",
    "llmkit predict classify",
    "llmkit finetune sst2",
    lambda family, config: config.head == "classification",
)
JOBS = (GENERATE, FILL_MASK, CLASSIFY)


def choose_model(ref: str | None, store: Path | None, jobs: tuple[Job, ...], *, quiet: bool = False) -> Path:
    """The directory of a model that can do one of `jobs`. A choice made for the user is said on stderr.

    Reads config.json only. Raises UsageError when there is none to choose, or when the one named cannot.
    """
    from llmkit.checkpoint.config_json import read_model_config
    from llmkit.checkpoint.refs import default_store, newest, read_found, reference, resolve

    def read(path: Path) -> tuple[Path, tuple[Family, ModelConfig]]:
        _refuse_tokenizer(ref, path)
        return path, read_model_config(path)

    def can(path: Path, _: object) -> bool:
        model = read_model_config(path)
        return any(job.can(*model) for job in jobs)

    place = default_store(store)
    if ref is not None:
        path, (family, config) = read_found(lambda: resolve(ref, place), read)
        if not any(job.can(family, config) for job in jobs):
            found = newest(place, can)
            raise _cannot(ref, family, config, jobs, reference(found, place) if found else None)
        return path
    found = newest(place, can)
    if found is None:
        recipes = " or ".join(job.recipe for job in jobs)
        raise UsageError(
            f"no model in {place} can {_either(jobs)}; train one first: {recipes}", "or name one: --model REF"
        )
    if not quiet:
        say(f"model: {reference(found, place)}")
    return found


def load_model(
    ref: str | None,
    store: Path | None,
    jobs: tuple[Job, ...],
    *,
    quiet: bool,
    device: str,
    dtype: str | None = None,
) -> tuple[Path, Loaded]:
    """What `choose_model` finds, and the model in it, which may be chosen anew if it is pruned before it is read."""
    from llmkit.api import load
    from llmkit.checkpoint.refs import read_found

    return read_found(
        lambda: choose_model(ref, store, jobs, quiet=quiet),
        lambda path: (path, load(path, store=store, device=device, dtype=dtype)),
    )


def find_model(ref: str | None, place: Path, *, quiet: bool = False) -> Path:
    """The directory of any model at all: the one `ref` names, else the newest in the store, said on stderr."""
    from llmkit.checkpoint.refs import CONFIG, newest, reference, resolve

    if ref is not None:
        path = resolve(ref, place)
        _refuse_tokenizer(ref, path)
        if not (path / CONFIG).is_file():
            raise InputRefused(f"{path} has no {CONFIG}; it is not a model", "give a model's directory")
        return path
    found = newest(place, lambda path, config: True)
    if found is None:
        raise UsageError(f"no model in {place}; train one first: llmkit pretrain bert-mini", "or name a directory")
    if not quiet:
        say(f"model: {reference(found, place)}")
    return found


def _refuse_tokenizer(ref: str | None, path: Path) -> None:
    from llmkit.checkpoint.refs import CONFIG, TOKENIZER

    if (path / TOKENIZER).is_file() and not (path / CONFIG).exists():
        raise InputRefused(f"{ref} is a tokenizer, not a model", "llmkit store ls shows which is which")


def refuse_damaged(path: Path) -> None:
    """Raise InputRefused unless the files of `path` are what its manifest says, training state aside.

    For commands that show stored values without building the model, which would check by itself. A directory without
    a manifest has nothing to be checked against.
    """
    from llmkit.checkpoint.hf_layout import STATE_FILES
    from llmkit.checkpoint.manifest import Verification

    with Verification(path, skip=STATE_FILES) as verification:
        verification.finish()


def say(message: str) -> None:
    """One line of talk on stderr, safe for a terminal."""
    from llmkit.render.lines import talk
    from llmkit.render.safe_text import safe_line

    print(talk(safe_line(message), sys.stderr), file=sys.stderr, flush=True)


def _cannot(ref: str, family: Family, config: ModelConfig, jobs: tuple[Job, ...], able: str | None) -> UsageError:
    """able: one in the store that can."""
    other = next((job for job in JOBS if job.can(family, config)), None)
    what = f"{ref} ({family.title}) has the head {config.head!r}; it cannot {_either(jobs)}"
    fix = f"take one that can: --model {able}" if able else f"train one that can: {jobs[0].recipe}"
    if other is None:
        return UsageError(what, fix)
    return UsageError(f"{what}, but it can {other.verb}", f"{fix}; or use this one: {other.command} --model {ref}")


def _either(jobs: tuple[Job, ...]) -> str:
    return " or ".join(job.verb for job in jobs)
