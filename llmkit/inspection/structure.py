"""What a checkpoint directory holds, read from configuration and safetensors headers alone: no weights, no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llmkit.inspection.facts import Facts, read_facts

# safetensors' dtype codes in the words of torch and of config.json
DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8_e4m3",
    "F8_E5M2": "float8_e5m2", "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
    "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool",
}  # fmt: skip
_BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias", "causal_mask")
EMBEDDINGS = (
    "embed_tokens.weight", "wte.weight", "word_embeddings.weight", "shared.weight", "embed_in.weight",
    "tok_embeddings.weight", "token_embedding.weight", "tokens.weight", "tokens_embed.weight", "word_embedding.weight",
    ".embeddings.weight", ".w.weight",
)  # fmt: skip
_HEADS = (
    "lm_head.weight", "embed_out.weight", "predictions.decoder.weight", "lm_head.decoder.weight",
    "generator_lm_head.weight", "vocab_projector.weight", "output_projection.weight", "pred_layer.proj.weight",
    "lm_loss.weight",
)  # fmt: skip


@dataclass(frozen=True)
class TensorFact:
    """One stored tensor. `params` is 0 for buffers and for a tied copy; `bytes` is what the file spends on it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    params: int
    bytes: int
    file: str
    tied_to: str | None = None


@dataclass(frozen=True)
class Structure:
    """A whole checkpoint: every tensor once, totals, and what its configuration says about it."""

    name: str
    tensors: tuple[TensorFact, ...]
    facts: Facts
    head_tied_to: str | None  # set when the output layer is the embedding and is not stored itself

    @property
    def params(self) -> int:
        """Parameters, tied ones once."""
        return sum(t.params for t in self.tensors)

    @property
    def active_params(self) -> int:
        """Parameters that work on one token: all, but of the experts only as many as are chosen."""
        experts, chosen = self.facts.experts, self.facts.active_experts
        if not experts or not chosen:
            return self.params
        idle = sum(t.params for t in self.tensors if is_expert(t.name)) * (experts - chosen)
        return self.params - idle // experts

    @property
    def bytes(self) -> int:
        """Bytes of tensor data in the files."""
        return sum(t.bytes for t in self.tensors)

    @property
    def files(self) -> int:
        """Number of weight files."""
        return len({t.file for t in self.tensors})

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Data types of the parameters, the one with most bytes first."""
        sizes: dict[str, int] = {}
        for t in self.tensors:
            sizes[t.dtype] = sizes.get(t.dtype, 0) + t.bytes
        return tuple(sorted(sizes, key=lambda d: -sizes[d]))


def read_structure(path: Path) -> Structure:
    """Read the structure of the checkpoint directory `path`.

    Raises InputRefused for a corrupt or unsafe header, index or configuration; StorageError when files are missing.
    """
    from llmkit.checkpoint.config_json import read_config
    from llmkit.checkpoint.shards import list_tensors

    config = read_config(path)
    infos = list_tensors(path)
    stored = [
        TensorFact(
            name=name,
            dtype=DTYPES.get(info.dtype, info.dtype.lower()),
            shape=tuple(info.shape),
            params=0 if is_buffer(name, info.dtype, info.shape) else math.prod(info.shape),
            bytes=info.n_bytes,
            file=info.file.name,
        )
        for name, info in infos.items()
    ]
    return assemble(display_name(path), stored, config)


def assemble(name: str, stored: list[TensorFact], config: Mapping[str, object]) -> Structure:
    """Join stored tensors and configuration: find the tied head, count shared weights once."""
    facts = read_facts(config, [t.name for t in stored])
    embedding = next((t for t in stored if t.name.endswith(EMBEDDINGS) and len(t.shape) == 2), None)
    head = next((t for t in stored if t.name.endswith(_HEADS)), None)
    tied = facts.tied and embedding is not None
    if tied and head is not None and embedding is not None and head.shape == embedding.shape:
        copy = replace(head, params=0, tied_to=embedding.name)
        stored = [copy if t is head else t for t in stored]
    stored = sorted(stored, key=lambda t: re.sub(r"\d+", lambda n: n.group().zfill(9), t.name))
    missing = tied and head is None and facts.has_token_head
    return Structure(name, tuple(stored), facts, embedding.name if missing and embedding else None)


def is_expert(name: str) -> bool:
    """Whether a tensor belongs to one of several experts: `experts.3.w1`, or all of them stacked, `experts.w1`."""
    return re.search(r"(^|\.)experts\.", name) is not None


def is_buffer(name: str, dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether a stored tensor is state that is not learned: index and mask buffers that older files carry along."""
    if dtype == "BOOL" or name.endswith(_BUFFERS):
        return True
    return name.endswith(("attn.bias", "attention.bias")) and len(shape) == 4


def display_name(path: Path) -> str:
    """The directory's name, with the run's name in front for a step: `tiny@500`."""
    name = path.resolve().name
    if name.startswith("step-") and name[5:].isdigit():
        return f"{path.resolve().parent.name}@{int(name[5:])}"
    return name
