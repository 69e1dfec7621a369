"""From a recipe to tokens: the tokenizer, and the tokenized training and validation text. No torch here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from llmkit.checkpoint.refs import resolve
from llmkit.data.corpus import TokenCorpus
from llmkit.data.sources import Source, open_source
from llmkit.data.split import Part, open_split
from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.recipe.schema import Recipe, TokenizerSettings
from llmkit.recipe.tasks import TASKS, Form, Task
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.tokenization.train import train as train_tokenizer
from llmkit.training.cache import text_cache
from llmkit.training.resume import Resumption

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """All that training needs from the text. named_tokenizer: sha256 of the one the recipe names now."""

    tokenizer: Tokenizer
    train: TokenCorpus
    validation: TokenCorpus | None
    named_tokenizer: str

    @property
    def digest(self) -> dict[str, str]:
        """What must be the same when a run goes on, by name."""
        found = {"tokenizer": self.named_tokenizer, "train": self.train.content_sha256}
        return found | ({"validation": self.validation.content_sha256} if self.validation else {})


def prepare(recipe: Recipe, store: Path, cache: Path, *, tokenizer: Path | None = None, say: Say) -> Prepared:
    """Read the text, learn or load the tokenizer, tokenize; what is in the cache is not done again.

    tokenizer: the directory of the one to use when a run goes on; it is not learned again then.
    """
    train, validation = open_texts(recipe, cache)
    task = TASKS[recipe.objective.name]
    settings = recipe.tokenizer
    assert settings is not None, "a recipe for pre-training has a tokenizer section"
    if tokenizer is None:
        learned = named = get_tokenizer(settings, train, store, task=task, say=say)
    else:
        learned = named = Tokenizer.from_file(tokenizer)
        if settings.path is not None:
            # One that has gone since is no loss: the run keeps its own copy. One that changed is for the user to judge.
            with contextlib.suppress(StorageError, UsageError):
                named = get_tokenizer(settings, train, store, task=task, say=say)
    check_roles(learned, task)

    def tokenize(source: Source | Part, what: str) -> TokenCorpus:
        corpus = TokenCorpus.build(
            source,
            learned.encode_batch,
            cache=cache,
            tokenizer_digest=learned.sha256,
            vocab_size=learned.vocab_size,
            end_id=None if task.form is Form.SENTENCES else learned.eos_id,
            sentences=task.form is Form.SENTENCES,
        )
        for line in corpus.report.lines():
            say(f"{what}: {line}")
        return corpus

    return Prepared(
        learned,
        tokenize(train, "training"),
        tokenize(validation, "validation") if validation is not None else None,
        named.sha256,
    )


def prepare_in_cache(recipe: Recipe, store: Path, resumption: Resumption | None, *, say: Say) -> Prepared:
    """`prepare` for a run of `store`, with the tokenizer of the checkpoint when the run goes on."""
    with text_cache(store) as cache:
        tokenizer = resumption.checkpoint.path if resumption else None
        return prepare(recipe, store, cache, tokenizer=tokenizer, say=say)


def open_texts(recipe: Recipe, cache: Path) -> tuple[Source | Part, Source | Part | None]:
    """`named_texts`; pipes are copied to `cache` so they can be reread."""
    train, validation = named_texts(recipe)
    if isinstance(train, Part) and isinstance(validation, Part):
        source = train.source.spooled(cache)
        return replace(train, source=source), replace(validation, source=source)
    return train.spooled(cache), validation.spooled(cache) if validation is not None else None


def named_texts(recipe: Recipe) -> tuple[Source | Part, Source | Part | None]:
    """The training and the validation text that the recipe names."""
    d = recipe.data
    if d.validation is None and d.validation_fraction == 0:
        return open_source(d.train, field=d.field, stories=d.stories, seed=d.seed), None
    # With a validation source of its own the fraction has no say, but it must still be one.
    return open_split(
        d.train,
        d.validation,
        fraction=d.validation_fraction or 0.05,
        field=d.field,
        stories=d.stories,
        seed=d.seed,
    )


def get_tokenizer(settings: TokenizerSettings, train: Source | Part, store: Path, *, task: Task, say: Say) -> Tokenizer:
    """The tokenizer the recipe names by path, else one learned from the training text."""
    if settings.path is not None:
        path = Path(settings.path).expanduser()
        return Tokenizer.from_file(path if path.is_file() else resolve(settings.path, store))
    say(f"learning a {settings.algorithm} tokenizer from {train.describe()}")
    return train_tokenizer(
        train.documents(),
        algorithm=settings.algorithm,
        vocab_size=settings.vocab_size,
        extra_special=task.special,
    )


def check_roles(tokenizer: Tokenizer, task: Task) -> None:
    """Refuse a tokenizer that lacks a special token the objective puts into examples."""
    roles = {"[CLS]": tokenizer.cls_id, "[SEP]": tokenizer.sep_id, "[MASK]": tokenizer.mask_id}
    missing = [t for t in task.special if (roles[t] if t in roles else tokenizer.id(t)) is None]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputRefused(
            f"the tokenizer has no {shown}, which the {task.name} objective needs",
            "leave out tokenizer.path, and one is learned that has them",
        )
