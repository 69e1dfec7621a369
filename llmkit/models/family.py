"""What a family file hands to the rest of llmkit: one frozen record, torch-free until `build` is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from llmkit.models.config import ModelConfig
from llmkit.models.hf_config import Fixed, HfConfig, Key
from llmkit.models.sizing import Sizing

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel
    from llmkit.weights.rules import Ignore, Rule

# Whatever the family: the weights themselves would be others.
_ALWAYS = (
    Fixed("pruned_heads", {}, because="it removes single attention heads"),
    Fixed("quantization_config", {}, because="the weights are quantized"),
)
_OF_DECODERS = (Fixed("is_causal", True, because="it lets tokens see those after them"),)


class Kind(str, Enum):
    """How attention flows: both ways, left to right, or from one stack into another."""

    ENCODER = "encoder"
    DECODER = "decoder"
    ENCODER_DECODER = "encoder-decoder"


def _nothing_more(_: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture as a paper describes it, and its dialect of Hugging Face names.

    name: the file's name, which is the model_type in config.json with '-' written as '_'.
    objective: what it is pretrained to do, in a few words. positions: how it knows the order of tokens, in a word.
    sizing: what its number of parameters follows from.
    heads: our head names -> the class that transformers gives them; the first is what the family is pretrained with.
    old_classes: names that old files give to such classes -> our head.
    head_if_silent: the head of a config.json without `architectures`; by default the first.
    keys: our setting -> its key in config.json. fixed: settings there that change the computation and are supported
    with one value only. token_ids: what transformers assumes for the ids that a file leaves out.
    more_from_hf, more_to_hf: what no table can say, added to (or put in place of) what the keys gave.
    build: config -> model, initialised as the paper says from torch's global generator; works on the meta device.
    weight_rules: config -> how each tensor of the checkpoint becomes one of ours, and back.
    """

    name: str
    kind: Kind
    title: str
    paper: str
    peculiar: str
    objective: str
    positions: str
    config_class: type[ModelConfig]
    sizing: Sizing = field(default_factory=Sizing)
    heads: Mapping[str, str]
    old_classes: Mapping[str, str] = field(default_factory=dict)
    head_if_silent: str = ""
    keys: Mapping[str, Key]
    fixed: tuple[Fixed, ...] = ()
    token_ids: Mapping[str, int] = field(default_factory=dict)
    more_from_hf: Callable[[HfConfig], dict[str, Any]] = _nothing_more
    # The config argument is typed Any because every family takes its own subclass.
    more_to_hf: Callable[[Any], dict[str, object]] = _nothing_more
    build: Callable[[Any], AnyModel]
    weight_rules: Callable[[Any], list[Rule | Ignore]]
    model_type: str = ""

    @property
    def refused(self) -> tuple[Fixed, ...]:
        """Every setting that is supported with one value only."""
        return (*_ALWAYS, *(() if self.kind is Kind.ENCODER else _OF_DECODERS), *self.fixed)

    def config_from_hf(self, raw: Mapping[str, object]) -> ModelConfig:
        """config.json -> config. InputRefused names a key that is missing, mistyped or unsupported."""
        r = HfConfig(raw, self.title)
        for fixed in self.refused:
            r.refuse(fixed.theirs, *fixed.harmless, because=fixed.because)
        types = {f.name: str(f.type) for f in fields(self.config_class)}
        values = {ours: r.read(key, types[ours]) for ours, key in self.keys.items()}
        head = r.head(self.heads, self.old_classes, default=self.head_if_silent or next(iter(self.heads)))
        values |= {"head": head, "labels": r.labels(head)}
        if self.kind is Kind.DECODER:
            values["prefix_lm"] = r.flag("prefix_lm", default=False)
        values |= r.token_ids(values["vocab_size"], **self.token_ids)
        values |= self.more_from_hf(r)
        return r.make(self.config_class, {ours: key.theirs for ours, key in self.keys.items()}, **values)

    def config_to_hf(self, config: ModelConfig) -> dict[str, object]:
        """The reverse: what transformers reads back as the same model."""
        ends = config.stop_ids
        stored: dict[str, object] = {
            "model_type": self.model_type or self.name,
            "architectures": [self.heads[config.head]],
            "pad_token_id": config.pad_id,
            "bos_token_id": config.bos_id,
            "eos_token_id": list(ends) if len(ends) > 1 else config.eos_id,
        }
        if config.prefix_lm:
            stored["prefix_lm"] = True  # ours: transformers keeps it, and reads from the left all the same
        if config.labels:
            stored["id2label"] = {str(i): name for i, name in enumerate(config.labels)}
            stored["label2id"] = {name: i for i, name in enumerate(config.labels)}
        stored |= {key.theirs: getattr(config, ours) for ours, key in self.keys.items()}
        return stored | self.more_to_hf(config)
