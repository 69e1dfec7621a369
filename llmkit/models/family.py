"""What a family file hands to the rest of llmkit: one frozen record, torch-free until `build` is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from llmkit.models.config import ModelConfig

if TYPE_CHECKING:
    from llmkit.models.shells import Model
    from llmkit.weights.rules import Ignore, Rule


class Kind(str, Enum):
    """How attention flows: both ways, left to right, or from one stack into another."""

    ENCODER = "encoder"
    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"


@dataclass(frozen=True)
class Family:
    """One architecture as a paper describes it, and its dialect of Hugging Face names.

    name: the file's name, which is the model_type in config.json with '-' written as '_'.
    heads: our head names -> the class that transformers gives them; the first is what the family is pretrained with.
    config_from_hf: config.json -> config; refuses (InputRefused) settings that change the computation unsupportedly.
    config_to_hf: the reverse; what transformers reads back as the same model.
    build: config -> model, initialised as the paper says from torch's global generator; works on the meta device.
    weight_rules: config -> how each tensor of the checkpoint becomes one of ours, and back.
    """

    name: str
    kind: Kind
    title: str
    paper: str
    peculiar: str
    config_class: type[ModelConfig]
    heads: Mapping[str, str]
    # The config argument is typed Any because every family takes its own subclass.
    config_from_hf: Callable[[Mapping[str, object]], ModelConfig]
    config_to_hf: Callable[[Any], dict[str, object]]
    build: Callable[[Any], Model]
    weight_rules: Callable[[Any], list[Rule | Ignore]]
