"""llmkit from Python: `llmkit.load("gpt-mini").generate("Once upon a time")`. The command line is a thin wrapper
over the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.checkpoint.refs import default_store, read_found, resolve
from llmkit.errors import CheckFailed, InputRefused, StorageError, UsageError

if TYPE_CHECKING:
    import torch

    from llmkit.models.config import ModelConfig
    from llmkit.models.shells import Model
    from llmkit.models.two_towers import AnyModel
    from llmkit.tokenization.tokenizer import Tokenizer

Notice = Callable[[str], None]


@dataclass(repr=False)
class Loaded:
    """A model, ready for use, and the directory it came from.

    model(input_ids, attention_mask, token_type_ids) returns an output with .logits and .hidden; it is in evaluation
    mode.
    """

    model: AnyModel
    path: Path
    _tokenizer: Tokenizer | None

    def __repr__(self) -> str:
        from llmkit.models.registry import family_of
        from llmkit.units import count

        size = count(sum(parameter.numel() for parameter in self.model.parameters()))
        return f"<{family_of(self.config).title} ({self.config.head}), {size} parameters, {self.path}>"

    @property
    def config(self) -> ModelConfig:
        """Sizes and rates of the model under llmkit's names."""
        return self.model.config

    @property
    def one_tower(self) -> Model:
        """The model, if it is not an encoder-decoder; UsageError if it is."""
        from llmkit.models.shells import Model

        if not isinstance(self.model, Model):
            raise UsageError(f"{self.path} is an encoder-decoder; this needs one stack", "name another model")
        return self.model

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer beside the model. InputRefused if the directory has none."""
        if self._tokenizer is None:
            raise InputRefused(f"{self.path} holds no tokenizer", "put the tokenizer.json it was trained with there")
        return self._tokenizer

    def generate(self, prompt: str = "", **sampling: Any) -> Iterator[str]:
        """Yield the text that follows `prompt`, or that an encoder-decoder makes of it, piece by piece.

        sampling: max_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, stop, as in
        llmkit.generation.text.generate_text; what is not given is what the model's generation_config.json asks for,
        if it does. Raises UsageError if this model cannot continue text.
        """
        from llmkit.generation.layout import lay_out_for_decoding
        from llmkit.generation.model_settings import model_settings
        from llmkit.generation.text import generate_text
        from llmkit.models.shells import DecoderModel
        from llmkit.models.two_towers import EncoderDecoderModel

        writes = self.config.head in ("causal_lm", "seq2seq")
        if not writes or not isinstance(self.model, (DecoderModel, EncoderDecoderModel)):
            raise UsageError(f"{self.path} has the head {self.config.head!r}; it cannot continue text")
        if not self.model.training:  # on a model that trains it would also lay out what the optimizer holds
            lay_out_for_decoding(self.model)
        return generate_text(self.model, self.tokenizer, prompt, **{**model_settings(self.path), **sampling})

    def save(self, directory: str | Path, *, max_shard_bytes: int | None = None) -> Path:
        """Write model, tokenizer and manifest into a new (or empty) directory that transformers opens as it is.

        The directory appears complete or not at all. Raises UsageError if there is something there already,
        StorageError if it cannot be written.
        """
        from llmkit.checkpoint.commit import Staged
        from llmkit.checkpoint.config_json import SAMPLING, read_generation
        from llmkit.checkpoint.files import make_directories
        from llmkit.checkpoint.hf_layout import SHARD_BYTES, write_model

        final = Path(directory).absolute()

        def write(place: Path) -> None:
            asked = {key: value for key, value in read_generation(self.path).items() if key in SAMPLING}
            write_model(place, self.model, sampling=asked, max_shard_bytes=max_shard_bytes or SHARD_BYTES)
            if self._tokenizer is not None:
                self._tokenizer.save(place)

        try:
            if (
                final.is_symlink()
                or (final.exists() and not final.is_dir())
                or (final.is_dir() and any(final.iterdir()))
            ):
                raise UsageError(f"{directory} exists and is not an empty directory", "choose a new directory")
            make_directories(final.parent)
        except OSError as error:
            raise StorageError(f"{directory}: {error.strerror}") from error
        Staged(final, write, step=None, parent=None, meta={"from": str(self.path.name)}).publish()
        return final


def load(
    ref: str | Path,
    *,
    store: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    verify: bool = True,
    notice: Notice | None = None,
) -> Loaded:
    """Load the model that `ref` names: NAME or NAME@STEP in the store, or the path of a model directory.

    device: "cpu", "cuda", "mps"; None or "auto" takes the best there is. dtype: such as "bfloat16"; None keeps what is
    stored. verify: check every file against the manifest, if there is one. notice: is told what the user should know.
    Raises UsageError for a name that is not there, InputRefused for files that are corrupt, unsafe or do not match,
    StorageError for files that cannot be read.
    """
    place = default_store(Path(store) if store is not None else None)
    name = str(ref)
    if isinstance(ref, Path) and not ref.is_absolute():
        name = str(Path.cwd() / ref)  # a Path is a path, never a name in the store
    return read_found(lambda: resolve(name, place), lambda path: _load(path, device, dtype, verify, notice))


def export(
    ref: str | Path, directory: str | Path, *, store: str | Path | None = None, dtype: str | torch.dtype | None = None
) -> float:
    """Write the model that `ref` names into a new directory for other programs, without training state.

    What was written is read back, and its logits compared with those of the model. Returns the largest difference: 0,
    or what another `dtype` costs. Raises what `load` and `Loaded.save` raise, and CheckFailed if the logits are off.
    """
    import torch

    from llmkit.models.two_towers import EncoderDecoderModel

    original = load(ref, store=store, device="cpu")
    exported = original if dtype is None else load(original.path, device="cpu", dtype=dtype, verify=False)
    path = exported.save(directory)
    again = load(path, device="cpu")
    length = min(16, original.config.max_seq_len)
    ids = torch.arange(length)[None] % original.config.vocab_size
    written = {"decoder_input_ids": ids} if isinstance(original.model, EncoderDecoderModel) else {}
    with torch.no_grad():
        logits = [loaded.model(ids, **written).logits.double() for loaded in (original, exported, again)]
    if not torch.equal(logits[1].nan_to_num(), logits[2].nan_to_num()):
        raise CheckFailed(f"{path} does not compute what {original.path} computes", "this is a bug in llmkit")
    return float((logits[0] - logits[2]).abs().max())


def _load(
    path: Path,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
    verify: bool,
    notice: Notice | None,
) -> Loaded:
    from llmkit.checkpoint import manifest
    from llmkit.checkpoint.hf_layout import STATE_FILES, read_model
    from llmkit.checkpoint.refs import TOKENIZER

    # Begun here, so that the files are hashed while torch is imported.
    with manifest.Verification(path, skip=STATE_FILES, wanted=verify) as verification:
        from llmkit.training.device import choose_device

        target = choose_device(str(device or "auto"))
        model = read_model(path, device=target, dtype=dtype, verify=False, notice=notice)
        tokenizer = _tokenizer_of(path)
        verification.finish()
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise InputRefused(
            f"{path / TOKENIZER} has {tokenizer.vocab_size} tokens, the model has room for {model.config.vocab_size}",
            "the tokenizer beside the model belongs to another one",
        )
    return Loaded(model, path, tokenizer)


def _tokenizer_of(path: Path) -> Tokenizer | None:
    from llmkit.tokenization.tokenizer import Tokenizer

    try:
        return Tokenizer.from_file(path)
    except StorageError:
        if (path / "tokenizer.json").exists():
            raise
        return None
