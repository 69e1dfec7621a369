"""A tokenizer read from or written to a tokenizer.json, over the `tokenizers` library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers

from llmkit.errors import InputRefused
from llmkit.tokenization.byte_level import BYTE_CHARS, token_bytes
from llmkit.tokenization.files import (
    CONFIG_FILE,
    FILE,
    VOCAB_TXT,
    read_bytes,
    read_config,
    read_old_files,
    write_together,
)
from llmkit.tokenization.pieces import PieceEncoder, is_piecewise, is_wordwise
from llmkit.tokenization.safety import check_tokenizer_json
from llmkit.tokenization.special import guess_roles, tokenizer_config


class Tokenizer:
    """Text to ids and back.

    backend: the `tokenizers` object that does the work; roles: "pad", "eos", ... -> token text.
    """

    def __init__(self, backend: tokenizers.Tokenizer, roles: Mapping[str, str]) -> None:
        # Both belong to batches, and neither may change what `encode` returns.
        backend.no_padding()
        backend.no_truncation()
        self.backend = backend
        self.roles = {role: token for role, token in roles.items() if backend.token_to_id(token) is not None}

    @classmethod
    def from_file(cls, path: Path | str, *, trust: bool = False) -> Tokenizer:
        """Read a tokenizer.json, or a directory that holds one (or the older vocab.txt, or vocab.json and merges.txt).

        trust: allow regular expressions that are not known to be harmless. Raises StorageError if there is no such
        file and InputRefused if it is no tokenizer, or one that could do harm.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        config = read_config(file.with_name(CONFIG_FILE))
        if file.name == VOCAB_TXT or (path.is_dir() and not file.exists()):
            backend = read_old_files(file.parent, config)
            return cls(backend, guess_roles(_special_tokens(backend).values(), config))
        data = read_bytes(file)
        check_tokenizer_json(data, str(file), trust=trust)
        with _no_panic(f"{file} is not a tokenizer"):
            try:
                backend = tokenizers.Tokenizer.from_str(data.decode("utf-8"))
            except Exception as error:
                raise InputRefused(f"{file} is not a tokenizer: {error}") from None
        return cls(backend, guess_roles(_special_tokens(backend).values(), config))

    def encode(self, text: str) -> list[int]:
        """Ids of `text`. Special tokens spelled out in the text get their ids; none are added."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str], *, add_special: bool = False) -> list[list[int]]:
        """Ids of each text; add_special: with the special tokens the tokenizer's template puts around a text."""
        with _no_panic("the tokenizer cannot encode this text"):
            if self._pieces is not None and not add_special:
                return self._pieces.encode_batch(texts)
            return [e.ids for e in self.backend.encode_batch_fast(list(texts), add_special_tokens=add_special)]

    def encode_offsets(self, text: str, *, add_special: bool = False) -> list[tuple[int, int, int]]:
        """(id, start, end) of each token; start and end count characters of `text`."""
        with _no_panic("the tokenizer cannot encode this text"):
            encoding = self.backend.encode(text, add_special_tokens=add_special)
        return [(i, start, end) for i, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)]

    @cached_property
    def _pieces(self) -> PieceEncoder | None:
        if is_piecewise(self._spec):
            return PieceEncoder(self.backend)
        words = is_wordwise(self._spec, self.backend.get_added_tokens_decoder().values())
        return PieceEncoder(self.backend, words=True) if words else None

    @cached_property
    def _spec(self) -> dict[str, Any]:
        """The parsed tokenizer.json without its vocabulary, which is large."""
        parts = ("normalizer", "pre_tokenizer", "decoder")
        spec: dict[str, Any] = {part: _state(getattr(self.backend, part)) for part in parts}
        return {**spec, "model": _model_settings(self.backend.model)}

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD, ids without a token nothing."""
        if self._bytes_of is not None:
            return self.decode_bytes(ids, skip_special=skip_special).decode("utf-8", "replace")
        return str(self.backend.decode(list(ids), skip_special_tokens=skip_special))

    def decode_bytes(self, ids: Iterable[int], *, skip_special: bool = False) -> bytes:
        """Bytes of `ids`; for byte-level tokenizers exact even in the middle of a character."""
        table = self._bytes_of
        if table is None:
            return self.decode(ids, skip_special=skip_special).encode("utf-8", "replace")
        if skip_special:
            special = self.special_ids
            return b"".join([table.get(i, b"") for i in ids if i not in special])
        return b"".join([table.get(i, b"") for i in ids])

    @cached_property
    def vocab_size(self) -> int:
        """Rows an embedding needs: the largest id and one."""
        return max(self.backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1

    def token(self, token_id: int) -> str:
        """The token as the vocabulary spells it; raises InputRefused for an id outside it."""
        token = self.backend.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
        if token is None:
            raise InputRefused(f"id {token_id} is not in the vocabulary of {self.vocab_size} tokens")
        return str(token)

    def id(self, token: str) -> int | None:
        """Id of a token spelled as the vocabulary spells it."""
        found: int | None = self.backend.token_to_id(token)
        return found

    def check_ids(self, ids: Iterable[int], where: str) -> None:
        """Raise InputRefused if one of `ids` stands for no token."""
        if not self._known_ids.issuperset(ids):
            wrong = next(i for i in ids if i not in self._known_ids)
            raise InputRefused(
                f"{where}: id {wrong} is not in the vocabulary of {self.vocab_size} tokens",
                "decode with the tokenizer that made the ids (--tokenizer REF)",
            )

    @cached_property
    def _known_ids(self) -> frozenset[int]:
        return frozenset(self.backend.get_vocab(with_added_tokens=True).values())

    def _role_id(self, role: str) -> int | None:
        return self.id(self.roles[role]) if role in self.roles else None

    @property
    def pad_id(self) -> int | None:
        return self._role_id("pad")

    @property
    def unk_id(self) -> int | None:
        return self._role_id("unk")

    @property
    def cls_id(self) -> int | None:
        return self._role_id("cls")

    @property
    def sep_id(self) -> int | None:
        return self._role_id("sep")

    @property
    def mask_id(self) -> int | None:
        return self._role_id("mask")

    @property
    def bos_id(self) -> int | None:
        return self._role_id("bos")

    @property
    def eos_id(self) -> int | None:
        return self._role_id("eos")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that stand for no text."""
        return frozenset(_special_tokens(self.backend))

    @property
    def is_lossless(self) -> bool:
        """Whether decoding gives back every text that was encoded, byte for byte (byte-level tokenizers do)."""
        return self._bytes_of is not None

    @cached_property
    def _bytes_of(self) -> dict[int, bytes] | None:
        """Bytes of each id, or None when the tokenizer is not byte-level."""
        backend = self.backend
        vocab = backend.get_vocab(with_added_tokens=True)
        spec = self._spec
        cuts = _parts(spec["pre_tokenizer"])
        if (
            (spec["decoder"] or {}).get("type") != "ByteLevel"
            or spec["normalizer"] is not None
            or not any(c.get("type") == "ByteLevel" and not c.get("add_prefix_space") for c in cuts)
            or any(c.get("behavior") == "Removed" for c in cuts)
            or not all(char in vocab for char in BYTE_CHARS)
        ):
            return None
        added = backend.get_added_tokens_decoder()
        table = {i: token_bytes(token) for token, i in vocab.items()}
        table.update({i: token.content.encode("utf-8") for i, token in added.items()})
        return table

    def to_json(self) -> bytes:
        """The bytes of tokenizer.json."""
        return (self.backend.to_str(pretty=True) + "\n").encode("utf-8")

    @cached_property
    def sha256(self) -> str:
        """Digest of `to_json`: equal tokenizers have equal digests."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def save(self, directory: Path | str) -> None:
        """Write tokenizer.json and tokenizer_config.json into an existing directory; AutoTokenizer opens the result."""
        directory = Path(directory)
        config = json.dumps(tokenizer_config(self.roles), indent=2, ensure_ascii=False) + "\n"
        # tokenizer.json last: its presence makes the directory a tokenizer.
        write_together({directory / CONFIG_FILE: config.encode("utf-8"), directory / FILE: self.to_json()})


def _special_tokens(backend: tokenizers.Tokenizer) -> dict[int, str]:
    return {i: token.content for i, token in backend.get_added_tokens_decoder().items() if token.special}


@contextmanager
def _no_panic(message: str) -> Iterator[None]:
    """Turn a panic inside `tokenizers`, which is no Exception and would pass every handler, into InputRefused."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise InputRefused(f"{message}: {str(error)[:200]}") from None


def _state(part: Any) -> dict[str, Any] | None:
    """Settings of a normalizer, pre-tokenizer or decoder, as tokenizer.json has them."""
    return None if part is None else json.loads(part.__getstate__())


def _parts(spec: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A pre-tokenizer's steps."""
    spec = spec or {}
    return list(spec.get("pretokenizers") or [spec])


def _model_settings(model: Any) -> dict[str, Any]:
    settings = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    return {"type": type(model).__name__, **{name: getattr(model, name, None) for name in settings}}
