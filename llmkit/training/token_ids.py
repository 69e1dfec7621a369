"""Which ids of a tokenizer a model of a kind is told: what pads, begins and ends its texts."""

from __future__ import annotations

from llmkit.models.config import EncoderDecoderConfig, ModelConfig
from llmkit.tokenization.tokenizer import Tokenizer


def token_ids(config_class: type[ModelConfig], tokenizer: Tokenizer) -> dict[str, int | None]:
    """pad_id, bos_id and eos_id for a configuration; for one with two stacks also decoder_start_id.

    Such a model must know where its output ends and what it begins with. Where the tokenizer has only [CLS] and [SEP],
    these begin and end texts; outputs begin with what the family's do, else with any of the three that there is.
    """
    found = {"pad_id": tokenizer.pad_id, "bos_id": tokenizer.bos_id, "eos_id": tokenizer.eos_id}
    if not issubclass(config_class, EncoderDecoderConfig):
        return found
    found["bos_id"] = tokenizer.cls_id if tokenizer.bos_id is None else tokenizer.bos_id
    found["eos_id"] = tokenizer.sep_id if tokenizer.eos_id is None else tokenizer.eos_id
    order = (config_class.BEGINS_WITH, "pad_id", "eos_id", "bos_id")
    start = next((found[name] for name in order if found[name] is not None), None)
    return {**found, "decoder_start_id": start}
