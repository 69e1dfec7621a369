"""config.json of a model directory, read without trusting it and without torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.checkpoint.files import read_small
from llmkit.checkpoint.strict_json import LARGEST_INTEGER, parse_object
from llmkit.errors import InputRefused, UsageError

if TYPE_CHECKING:
    from llmkit.models.config import ModelConfig
    from llmkit.models.family import Family

NAME = "config.json"
GENERATION = "generation_config.json"
SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens")
_MAX_BYTES = 2**20


def read_config(directory: Path) -> dict[str, Any]:
    """The content of config.json. InputRefused if it is missing, over 1 MiB, not an object, or holds absurd numbers."""
    where = str(directory / NAME)
    try:
        config = parse_object(read_small(directory, NAME, _MAX_BYTES), where, largest=10**40)
    except FileNotFoundError:
        raise InputRefused(
            f"{directory} has no {NAME}; it is not a model directory", "a model is a directory in Hugging Face layout"
        ) from None
    for key, value in _numbers(config, ""):
        if abs(value) > LARGEST_INTEGER:
            raise InputRefused(f"{where}: {key[:80]!r} is {value}; no model has a size like that")
    return config


def read_generation(directory: Path) -> dict[str, Any]:
    """The content of generation_config.json, empty if there is none; InputRefused for what is no bounded object."""
    try:
        return parse_object(read_small(directory, GENERATION, _MAX_BYTES), str(directory / GENERATION))
    except FileNotFoundError:
        return {}


def _numbers(value: Any, key: str) -> Iterator[tuple[str, int]]:
    """Every integer in a JSON value, with the key it stands under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, int):
        yield key, value


def model_type(config: dict[str, Any], directory: Path) -> str:
    """The family's name as config.json states it."""
    name = config.get("model_type")
    if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
        raise InputRefused(
            f"{directory / NAME}: model_type is missing or no name", "it says which family the model is of"
        )
    return name


def read_model_config(directory: Path) -> tuple[Family, ModelConfig]:
    """The family of the model in `directory` and its sizes, checked; InputRefused with the path for what is wrong."""
    from llmkit.models.registry import load_family

    config = read_config(directory)
    name = model_type(config, directory)
    try:
        family = load_family(name)
        return family, _with_further_ends(family.config_from_hf(config), directory)
    except (UsageError, InputRefused) as error:  # UsageError: an unknown family, which here is the file's fault
        where = str(directory / NAME)
        message = error.message.removeprefix(f"{NAME}: ")  # the families name the file but not where it lies
        raise InputRefused(f"{where}: {message}", error.hint) from error
    except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError) as error:
        # A value of a type nobody expects ("hidden_size": "16") must be the file's fault, not a bug of ours.
        raise InputRefused(f"{directory / NAME}: a value is missing or of the wrong type ({error})") from error


def _with_further_ends(config: ModelConfig, directory: Path) -> ModelConfig:
    """`config` with the ids that only generation_config.json says end a text; chat models keep theirs there."""
    if config.head not in ("causal_lm", "seq2seq"):
        return config
    where = str(directory / GENERATION)
    found = read_generation(directory).get("eos_token_id")
    ends = found if isinstance(found, list) else [] if found is None else [found]
    if not all(isinstance(end, int) and not isinstance(end, bool) for end in ends):
        raise InputRefused(f"{where}: eos_token_id is {str(found)[:60]!r}, not a token id or a list of them")
    further = [end for end in dict.fromkeys(ends) if 0 <= end < config.vocab_size and end not in config.stop_ids]
    if config.eos_id is None and further:
        return replace(config, eos_id=further[0], extra_eos_ids=tuple(further[1:]))
    return replace(config, extra_eos_ids=(*config.extra_eos_ids, *further))
