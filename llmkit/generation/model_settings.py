"""How a checkpoint wants to be sampled, by the generation_config.json that transformers writes beside a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmkit.checkpoint.config_json import GENERATION, SAMPLING, read_generation
from llmkit.errors import InputRefused, UsageError
from llmkit.generation.settings import Sampling

_NAMES = {"max_new_tokens": "max_tokens"}
_WHOLE = {"max_new_tokens", "top_k"}
# The file leaves out what is transformers' own default, which is part of what `do_sample` asks for.
_THEIR_DEFAULTS = {"temperature": 1.0, "top_k": 50, "top_p": 1.0}


def model_settings(directory: Path) -> dict[str, Any]:
    """The fields of Sampling that generation_config.json sets; empty without one, or when it names no such setting.

    `do_sample: false` is greedy. Raises InputRefused with the file and the key for a value that cannot be meant.
    """
    where = directory / GENERATION
    asked = {key: value for key, value in read_generation(directory).items() if key in SAMPLING and value is not None}
    do_sample = asked.pop("do_sample", None)
    if do_sample is not None and not isinstance(do_sample, bool):
        raise InputRefused(f"{where}: do_sample is {str(do_sample)[:60]!r}, not true or false")
    for key, value in asked.items():
        if isinstance(value, bool) or not isinstance(value, int if key in _WHOLE else (int, float)):
            kind = "whole number" if key in _WHOLE else "number"
            raise InputRefused(f"{where}: {key} is {str(value)[:60]!r}, not a {kind}")
    if do_sample:
        asked = {**_THEIR_DEFAULTS, **asked}
    found = {_NAMES.get(key, key): value for key, value in asked.items()}
    if found.get("top_k") == 0:  # their word for off
        found["top_k"] = None
    try:
        Sampling(**found)
    except UsageError as error:
        raise InputRefused(f"{where}: {error.message}", error.hint) from None
    return found if do_sample is not False else {**found, "temperature": 0.0}
