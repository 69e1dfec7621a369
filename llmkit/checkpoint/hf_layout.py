"""Models as Hugging Face directories: config.json, model.safetensors (or shards), tokenizer, and for models that
generate text generation_config.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.checkpoint import manifest
from llmkit.checkpoint.config_json import GENERATION, read_config, read_model_config
from llmkit.checkpoint.files import read_small, write_new
from llmkit.checkpoint.header import TensorInfo
from llmkit.checkpoint.shards import INDEX, WEIGHTS, OpenShard, StoredTensor, list_tensors, open_shards
from llmkit.checkpoint.state import StateFiles
from llmkit.errors import InputRefused, UsageError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from llmkit.models.config import ModelConfig
    from llmkit.models.family import Family
    from llmkit.models.two_towers import AnyModel

__all__ = ["StoredTensor", "list_tensors", "read_config", "read_model", "read_model_config", "write_model"]

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
SHARD_BYTES = 5 * 10**9
# Not hashed when a model is only read: they are twice the size of the weights, and resuming verifies them itself.
STATE_FILES = StateFiles()
_MAX_TOKENIZER_BYTES = 2**28


def read_model(
    directory: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    head: str | None = None,
    labels: Sequence[str] = (),
    dropout: float | None = None,
    verify: bool = True,
    notice: Callable[[str], None] | None = None,
) -> AnyModel:
    """Build the model that `directory` holds, in evaluation mode.

    Every tensor of the file must have its place in the model and every parameter its tensor. Memory is what the model
    takes and one tensor more.

    dtype: of the parameters, e.g. "bfloat16"; None keeps the stored one (the widest, where they differ).
    head: put another head on the stored base model, to fine-tune it; what the stored model has no weights for is
    drawn from torch's global generator as in a new model, and `notice` is told what was drawn and what left out.
    labels: class names for a classification head; other names than the stored ones get a fresh last layer too.
    dropout: rate in training, of values and of attention weights alike; None keeps the stored rates.
    verify: check the files against the manifest, if there is one, while they are read (InputRefused).
    Raises InputRefused, with the path, for anything in the directory that is not as it must be.
    """
    with manifest.Verification(directory, skip=STATE_FILES, wanted=verify) as verification:
        family, config = read_model_config(directory)
        if dropout is not None:
            config = replace(config, dropout=dropout, attention_dropout=dropout)
        target = _with_head(config, head, labels)
        with open_shards(directory) as shards:
            n_tensors = sum(len(shard.header.tensors) for shard in shards)
            if n_tensors < config.n_stored_blocks:  # before a thousand layers are built for a file with three tensors
                raise InputRefused(f"{directory}: {n_tensors} tensors cannot be {config.n_stored_blocks} layers")
            model = _build(directory, family, config, target, shards, device, dtype, notice)
        verification.finish()
    return model.eval()


def _with_head(config: ModelConfig, head: str | None, labels: Sequence[str]) -> ModelConfig:
    names = tuple(labels) if labels else config.labels if head in (None, config.head) else ()
    return replace(config, head=head or config.head, labels=names)


def _build(
    directory: Path,
    family: Family,
    config: ModelConfig,
    target: ModelConfig,
    shards: list[OpenShard],
    device: str | torch.device,
    dtype: str | torch.dtype | None,
    notice: Callable[[str], None] | None,
) -> AnyModel:
    import torch

    from llmkit.checkpoint.fresh_head import fill_fresh, hidden_names, say
    from llmkit.weights.convert import load_into, stored_names

    with torch.device("meta"):
        model = family.build(target)
        known = None if target == config else stored_names(family.build(config), family.weight_rules(config))
    rules = family.weight_rules(target)
    hidden = hidden_names(family, config, target)
    infos = {name: info for shard in shards for name, info in shard.header.tensors.items()}
    largest = max(p.numel() for p in model.parameters())
    tensors = _LazyTensors(shards, _dtype(dtype, infos, directory), torch.device(device), hidden, largest)
    try:
        if known is None:
            load_into(model, rules, tensors)
        else:
            fresh = load_into(model, rules, tensors, known=known - hidden)
            fill_fresh(model, fresh, family, target)
            if notice is not None:
                say(notice, fresh, infos.keys() & ((known - stored_names(model, rules)) | hidden))
    except InputRefused as error:
        raise InputRefused(f"{directory}: {error.message}", error.hint) from error
    return model.to(device=tensors.device, dtype=tensors.dtype)


class _LazyTensors(Mapping[str, "Tensor"]):
    """Tensors of all shards by name, each read and put on its device when it is asked for."""

    def __init__(
        self,
        shards: list[OpenShard],
        dtype: torch.dtype,
        device: torch.device,
        hidden: set[str],
        largest: int,
    ) -> None:
        """hidden: names that are not there; largest: elements of the model's largest parameter."""
        from llmkit.checkpoint.tensors import TensorFile

        files = [TensorFile(shard.fd, str(shard.path), shard.header) for shard in shards]
        self._places = {name: file for file in files for name in file if name not in hidden}
        self._largest = largest
        self.dtype = dtype
        self.device = device

    def __getitem__(self, name: str) -> Tensor:
        file = self._places[name]
        info = file.header.tensors[name]
        if info.n_elements > self._largest:  # its shape is compared only once it is read, and it may be a sparse file
            raise InputRefused(
                f"tensor {name!r} is {info.shape}; nothing in the model of its config.json is that large"
            )
        tensor = file[name]
        return tensor.to(device=self.device, dtype=self.dtype) if tensor.is_floating_point() else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _dtype(asked: str | torch.dtype | None, infos: Mapping[str, TensorInfo], directory: Path) -> torch.dtype:
    """The dtype of the parameters: the one asked for, else the stored one."""
    import torch

    from llmkit.checkpoint.tensors import torch_dtype

    if asked is not None:
        found = getattr(torch, asked, None) if isinstance(asked, str) else asked
        if found not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            raise UsageError(f"dtype is {str(asked)!r}", "use float32, bfloat16, float16 or float64")
        return found
    stored = {torch_dtype(info.dtype) for info in infos.values()}
    floats = {dtype for dtype in stored if dtype.is_floating_point}
    if not floats:
        raise InputRefused(f"{directory} holds no tensors of floating-point numbers")
    widest = max(dtype.itemsize for dtype in floats)
    if widest < 2:
        raise InputRefused(f"{directory}: its weights are 8-bit numbers, which need scales that llmkit does not read")
    widest_ones = [dtype for dtype in floats if dtype.itemsize == widest]
    return widest_ones[0] if len(widest_ones) == 1 else torch.float32  # neither of float16 and bfloat16 holds the other


def write_model(
    directory: Path,
    model: Any,
    *,
    tokenizer: Path | None = None,
    sampling: Mapping[str, Any] | None = None,
    max_shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write `model` (one that llmkit built) into an existing directory; transformers opens it as it is.

    tokenizer: a tokenizer.json, or a directory that holds one, to copy. sampling: what else belongs into a decoder's
    generation_config.json. Weights over `max_shard_bytes` are split into
    shards with an index. Nothing is replaced: a file that exists is an error (FileExistsError). What is written is
    not durable; committing a directory is llmkit.checkpoint.commit's job.
    """
    from llmkit.checkpoint.tensors import write_tensors
    from llmkit.models.registry import family_of
    from llmkit.weights.convert import export

    tensors = export(model, family_of(model.config).weight_rules(model.config))
    write_settings(directory, model.config, next(iter(tensors.values())).dtype, sampling)
    shards = _split(tensors, max_shard_bytes)
    if len(shards) == 1:
        write_tensors(directory / WEIGHTS, shards[0], {"format": "pt"})
    else:
        names = [shard_name(i + 1, len(shards)) for i in range(len(shards))]
        for name, shard in zip(names, shards, strict=True):
            write_tensors(directory / name, shard, {"format": "pt"})
        total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        write_index(
            directory, {tensor: name for name, shard in zip(names, shards, strict=True) for tensor in shard}, total
        )
    if tokenizer is not None:
        copy_tokenizer(tokenizer, directory)


def stored_part(config: ModelConfig, parameters: Mapping[str, Tensor], *, is_first: bool) -> dict[str, Tensor]:
    """Some of a model's parameters, by our names, as its weights files hold them; the first part has what is extra."""
    import torch

    from llmkit.models.registry import family_of
    from llmkit.weights.convert import computed, export_some

    rules = family_of(config).weight_rules(config)
    extra = {name: value.to(torch.float32) for name, value in computed(rules).items()} if is_first else {}
    return {**export_some(parameters, rules), **extra}


def shard_name(number: int, count: int) -> str:
    """The file of one of several shards, counted from 1."""
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def write_index(directory: Path, placement: Mapping[str, str], n_bytes: int) -> None:
    """Write which shard holds which tensor; `n_bytes` is that of all tensors."""
    _write_json(directory / INDEX, {"metadata": {"total_size": n_bytes}, "weight_map": dict(placement)})


def write_settings(
    directory: Path, config: ModelConfig, stored: torch.dtype, sampling: Mapping[str, Any] | None = None
) -> None:
    """Write config.json and, for models that generate text, generation_config.json. stored: dtype of the weights."""
    from llmkit.models.registry import family_of

    family, dtype = family_of(config), str(stored).removeprefix("torch.")
    _write_json(directory / "config.json", {**family.config_to_hf(config), "dtype": dtype})
    if config.head in ("causal_lm", "seq2seq"):
        ends = config.stop_ids
        ids = {"bos": config.bos_id, "eos": list(ends) if len(ends) > 1 else config.eos_id, "pad": config.pad_id}
        ids |= {name: getattr(config, f"{name}_id", None) for name in ("decoder_start", "forced_bos", "forced_eos")}
        _write_json(
            directory / GENERATION,
            {
                **(sampling or {"_from_model_config": True}),
                **{f"{k}_token_id": v for k, v in ids.items() if v is not None},
            },
        )


def copy_tokenizer(source: Path, directory: Path) -> None:
    """Copy tokenizer.json and what transformers wants beside it; `source` is a tokenizer.json or its directory."""
    folder, first = (source, TOKENIZER_FILES[0]) if source.is_dir() else (source.parent, source.name)
    try:
        content = read_small(folder, first, _MAX_TOKENIZER_BYTES)
    except FileNotFoundError:
        raise InputRefused(f"{source} holds no {TOKENIZER_FILES[0]}") from None
    write_new(directory / TOKENIZER_FILES[0], [content])
    try:
        settings = read_small(folder, TOKENIZER_FILES[1], 2**24)
    except FileNotFoundError:
        settings = b'{"tokenizer_class": "PreTrainedTokenizerFast"}\n'
    write_new(directory / TOKENIZER_FILES[1], [settings])


def _split(tensors: Mapping[str, Tensor], max_bytes: int) -> list[dict[str, Tensor]]:
    """Tensors in order, cut into dicts of at most `max_bytes` (a larger single tensor gets one to itself)."""
    shards: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if shards[-1] and filled + size > max_bytes:
            shards.append({})
            filled = 0
        shards[-1][name] = tensor
        filled += size
    return shards


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    write_new(path, [json.dumps(content, indent=2, allow_nan=False).encode(), b"\n"])
