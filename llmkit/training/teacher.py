"""The checkpoint that a recipe's model learns from: where it is, whether it is still the same. No torch at import."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.checkpoint.refs import CONFIG, resolve
from llmkit.data.sources import file_sha256
from llmkit.errors import InputRefused, UsageError
from llmkit.recipe.schema import Recipe
from llmkit.recipe.shipped import builtin_names
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.ingredients import Ingredient

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel


def find(ref: str, store: Path) -> Path:
    """The directory that `ref` means. Raises UsageError, with what to run first, when it is not there yet."""
    try:
        return resolve(ref, store)
    except UsageError as error:
        name = ref.partition("@")[0]
        if name in builtin_names() and not (store / name).is_dir():
            raise UsageError(error.message, f"train it first: llmkit pretrain {name}") from error
        raise


def teacher_ingredient(recipe: Recipe, store: Path) -> dict[str, Ingredient]:
    """Its settings and weights, by name, or nothing when the recipe has no teacher."""
    if recipe.objective.teacher is None:
        return {}
    directory = find(recipe.objective.teacher, store)
    weights = sorted(p for p in directory.glob("model*.safetensors") if p.is_file())
    files = " ".join(f"{path.name} {file_sha256(path)}" for path in [directory / CONFIG, *weights])
    counts = {"bytes": sum(path.stat().st_size for path in weights)}
    return {"teacher": Ingredient(hashlib.sha256(files.encode()).hexdigest(), counts)}


def load_teacher(ref: str, store: Path, tokenizer: Tokenizer) -> AnyModel:
    """The model at `ref`. Raises InputRefused when its ids mean other tokens than those of `tokenizer`."""
    from llmkit.checkpoint.hf_layout import read_model

    directory = find(ref, store)
    theirs = Tokenizer.from_file(directory)
    ours = tokenizer.backend.get_vocab(with_added_tokens=True)
    if theirs.sha256 != tokenizer.sha256 and theirs.backend.get_vocab(with_added_tokens=True) != ours:
        raise InputRefused(
            f"the teacher {ref} has another tokenizer: its vocabulary is not the one of this run",
            "leave out tokenizer.path, and the teacher's is taken",
        )
    model: AnyModel = read_model(directory)
    return model
