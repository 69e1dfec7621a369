"""Reading and writing tokenizer files, the older kinds included."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from llmkit.errors import InputRefused, StorageError
from llmkit.tokenization.safety import MAX_BYTES, check_tokenizer_json

FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
VOCAB_TXT = "vocab.txt"
VOCAB_JSON = "vocab.json"
MERGES = "merges.txt"


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of sane size. Raises StorageError or InputRefused with the path."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise InputRefused(f"{path} is {size:,} bytes; a tokenizer has at most {MAX_BYTES:,}")
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise StorageError(f"no such file: {path}", "name a tokenizer.json or a directory with one") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` as a whole or not at all, durably. A link at `path` is replaced, not followed."""
    write_together({path: data})


def write_together(contents: Mapping[Path, bytes]) -> None:
    """`write_atomically` for files of one directory: none appears, or is replaced, before all are on the disk.

    They then appear in the order given; a disk that is full has changed nothing by then.
    """
    staged: list[tuple[Path, Path]] = []
    path = next(iter(contents))
    try:
        for path, data in contents.items():
            temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
            staged.append((temporary, path))
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for temporary, path in staged:
            os.replace(temporary, path)
        if os.name == "posix":
            directory = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None
    finally:
        for temporary, _ in staged:
            with contextlib.suppress(OSError):
                temporary.unlink()


def read_config(path: Path) -> dict[str, object]:
    """A tokenizer_config.json, or nothing if there is none that can be read: it only adds to what is known."""
    try:
        config = json.loads(path.read_bytes()[:MAX_BYTES])
    except (OSError, ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def read_old_files(directory: Path, config: Mapping[str, object]) -> tokenizers.Tokenizer:
    """A tokenizer from vocab.txt (BERT's WordPiece), or from vocab.json and merges.txt (GPT-2's byte-level BPE)."""
    if (directory / VOCAB_TXT).is_file():
        return _wordpiece(directory / VOCAB_TXT, lowercase=config.get("do_lower_case") is not False)
    if (directory / VOCAB_JSON).is_file() and (directory / MERGES).is_file():
        return _byte_level(directory / VOCAB_JSON, directory / MERGES)
    if not directory.is_dir():
        raise StorageError(f"no such directory: {directory}")
    raise StorageError(f"{directory} holds no {FILE}", "name a tokenizer.json or a directory with one")


def _text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputRefused(f"{path}: byte {error.start} is not valid UTF-8") from None


def _wordpiece(path: Path, *, lowercase: bool) -> tokenizers.Tokenizer:
    tokens = _text(path).removesuffix("\n").split("\n")
    vocab = {token.removesuffix("\r"): i for i, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise InputRefused(f"{path}: a token is there twice")
    if "[UNK]" not in vocab:
        raise InputRefused(f"{path} is not a WordPiece vocabulary: it has no [UNK]")
    backend = tokenizers.Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    dress_as_bert(backend, vocab, lowercase=lowercase)
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    backend.add_special_tokens([token for token in special if token in vocab])
    return backend


def dress_as_bert(backend: tokenizers.Tokenizer, vocab: Mapping[str, int], *, lowercase: bool) -> None:
    """Give a WordPiece model the normalizer, the cuts and the template of BERT (Devlin et al. 2018)."""
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    if "[CLS]" in vocab and "[SEP]" in vocab:
        backend.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
        )


def _byte_level(vocab_path: Path, merges_path: Path) -> tokenizers.Tokenizer:
    spec = b'{"model":{"vocab":' + read_bytes(vocab_path) + b"}}"
    vocab = check_tokenizer_json(spec, str(vocab_path))["model"]["vocab"]
    merges = []
    for number, line in enumerate(_text(merges_path).split("\n"), 1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        first, _, second = line.removesuffix("\r").partition(" ")
        if first not in vocab or second not in vocab or first + second not in vocab:
            raise InputRefused(f"{merges_path}:{number}: merge {line[:80]!r} does not fit {vocab_path.name}")
        merges.append((first, second))
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([token for token in ("<|endoftext|>",) if token in vocab])
    return backend
