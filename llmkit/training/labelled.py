"""From a fine-tuning recipe to labelled token ids: the tables, the part held out, the framed texts. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.checkpoint.refs import newest, resolve
from llmkit.data.labelled import Example, Table, read_table
from llmkit.data.sources import STORIES
from llmkit.errors import InputRefused, LlmkitError, UsageError
from llmkit.models.family import Kind
from llmkit.models.registry import load_family
from llmkit.recipe.schema import Recipe
from llmkit.tokenization.framing import framed
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.ingredients import Ingredient

Say = Callable[[str], None]


@dataclass(frozen=True)
class LabelledText:
    """Tables as read, and what a run must find unchanged when it goes on."""

    tokenizer: Tokenizer
    train: Table
    validation: Table | None
    test: Table | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names by index."""
        return self.train.labels

    @property
    def ingredients(self) -> dict[str, Ingredient]:
        """What must be the same when a run goes on, by name; the test table may change freely."""
        tables = {"train": self.train} | ({"validation": self.validation} if self.validation is not None else {})
        found = {"tokenizer": Ingredient.of_tokenizer(self.tokenizer)}
        for name, table in tables.items():
            counts = {"examples": len(table), "labels": len(table.labels)}
            found[name] = Ingredient(table_digest(table), counts)
        return found


def find_base(recipe: Recipe, store: Path) -> Path:
    """The checkpoint to fine-tune: the recipe's, else the newest encoder in the store that is not a classifier.

    Raises UsageError when there is none.
    """
    if recipe.base is not None:
        return resolve(recipe.base, store)
    found = newest(store, is_encoder)
    if found is None:
        raise UsageError(
            f"there is no pretrained encoder in {store} to start from",
            "train one first: llmkit pretrain bert-mini; or name one with --model REF",
        )
    return found


def is_encoder(path: Path, config: dict[str, Any]) -> bool:
    """Whether a checkpoint is an encoder that was not made a classifier yet."""
    try:
        family = load_family(str(config.get("model_type", "")).replace("-", "_"))
    except LlmkitError:
        return False
    classes = config.get("architectures") or []
    return family.kind is Kind.ENCODER and family.heads.get("classification") not in classes


def prepare_labelled(recipe: Recipe, base: Path, test: str | None, *, say: Say) -> LabelledText:
    """Read the tables the recipe names, and hold out a part if no validation table is given."""
    tokenizer = Tokenizer.from_file(base)
    d = recipe.data
    if test == "-" and ("-" in (d.train, d.validation) or d.train == ["-"]):
        raise UsageError("--test is stdin, and so are the data to train with", "name a file for one of them")
    train, validation = read_tables(recipe)
    told = read_table(test, text=d.text, pair=d.pair, label=d.label, labels=train.labels) if test else None
    for what, table in (("training", train), ("validation", validation), ("test", told)):
        if table is not None:
            for line in table.report(None if table is train else train).lines():
                say(f"{what}: {line}")
    return LabelledText(tokenizer, train, validation, told)


def read_tables(recipe: Recipe) -> tuple[Table, Table | None]:
    """The training and the validation table."""
    d = recipe.data
    if d.field is not None:
        raise UsageError("data.field is not read by fine-tuning", "name the column of the text with data.text")
    for name in ("target", "validation_target", "weights"):
        if getattr(d, name) is not None:
            raise UsageError(f"data.{name} does nothing here: fine-tuning reads one table", "remove it")
    names = [d.train] if isinstance(d.train, str) else d.train
    if len(names) != 1:
        raise UsageError(f"data.train names {len(names)} tables; fine-tuning reads one", "join them into one file")
    train = read_table(names[0], text=d.text, pair=d.pair, label=d.label, stories=d.stories, seed=d.seed)
    if len(train.labels) < 2:
        raise InputRefused(f"{train.name} has one label only ({train.labels[0]!r}); there is nothing to tell apart")
    if d.validation is not None:
        return train, read_table(
            d.validation,
            text=d.text,
            pair=d.pair,
            label=d.label,
            labels=train.labels,
            stories=held_out_stories(recipe),
            seed=d.seed,
            held_out=True,
        )
    if d.validation_fraction == 0:
        return train, None
    if names[0] == STORIES:
        count = held_out_stories(recipe)
        return train, read_table(STORIES, labels=train.labels, stories=count, seed=d.seed, held_out=True)
    return split_table(train, d.validation_fraction)


def held_out_stories(recipe: Recipe) -> int:
    """How many stories to validate on."""
    return max(1, round(recipe.data.stories * (recipe.data.validation_fraction or 0.1)))


def split_table(table: Table, fraction: float) -> tuple[Table, Table]:
    """Hold out about `fraction` of the rows by a hash of their text: equal texts stay on one side."""
    bound = int(fraction * 2**64)

    def is_held_out(row: Example) -> bool:
        text = f"{row.text}\0{row.pair or ''}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"llmkit-split").digest(), "big") < bound

    held_out = [row for row in table.rows if is_held_out(row)]
    kept = [row for row in table.rows if not is_held_out(row)]
    if not held_out or not kept:
        raise InputRefused(
            f"{table.name}: a part of {fraction:g} of {len(table):,} rows leaves nothing to "
            f"{'validate' if kept else 'train'} on",
            "change data.validation_fraction, or name a table in data.validation",
        )
    return replace(table, rows=tuple(kept), n_empty=0), replace(table, rows=tuple(held_out), n_empty=0)


def encode_table(table: Table, tokenizer: Tokenizer, room: int, say: Say) -> tuple[list[Any], Any]:
    """Framed token ids of each row, at most `room` tokens, and the labels (n,)."""
    firsts = tokenizer.encode_batch([row.text for row in table.rows])
    seconds: list[list[int] | None] = [None] * len(table)
    if any(row.pair is not None for row in table.rows):
        seconds = list(tokenizer.encode_batch([row.pair or "" for row in table.rows]))
    texts = [framed(tokenizer, a, b, room) for a, b in zip(firsts, seconds, strict=True)]
    n_cut = sum(text.was_cut for text in texts)
    if n_cut:
        say(f"{table.name}: {n_cut:,} of {len(texts):,} texts are longer than {room} tokens and lose their end")
    return texts, np.array([row.label for row in table.rows], dtype=np.int64)


def table_digest(table: Table) -> str:
    """A sha256 of the rows and their labels, whatever file they come from."""
    digest = hashlib.sha256("\0".join(table.labels).encode("utf-8", "surrogatepass"))
    for row in table.rows:
        digest.update(f"\n{row.text}\0{row.pair}\0{row.label}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
