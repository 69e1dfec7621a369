"""A tokenized corpus on disk: built once by streaming, read as a memory map, reused while text and tokenizer stay.

A directory `corpus-<key>` in the cache holds ids.bin (uint16 or uint32), documents.bin and sentences.bin (int64
offsets into ids, closed by the total) and meta.json (counts and sha256 of each file). It appears whole by a rename; a
damaged or half-written one is built again. Memory stays flat: a batch of text and its ids are all that is held.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from llmkit.data.report import DataReport
from llmkit.data.sentences import sentence_segments
from llmkit.data.sources import PIECE, Piece, file_sha256
from llmkit.data.split import Corpus
from llmkit.errors import InputRefused, StorageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Encode = Callable[[list[str]], list[list[int]]]
FORMAT = 1
_BATCH_CHARS = 1 << 20
_BATCH_TEXTS = 8192
_MOST_HASHES = 1 << 20


@dataclass(frozen=True)
class TokenCorpus:
    """Token ids of a corpus.

    ids: (n_tokens,) uint16 or uint32; document_starts: (n_documents + 1,) int64, the last is n_tokens; sentence_starts:
    likewise, (1,) when sentences were not asked for. A document's end token, if any, belongs to its last sentence.
    """

    path: Path
    key: str
    ids: NDArray[np.unsignedinteger]
    document_starts: NDArray[np.int64]
    sentence_starts: NDArray[np.int64]
    content_sha256: str
    report: DataReport

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_documents(self) -> int:
        """Documents that have at least one token."""
        return len(self.document_starts) - 1

    @property
    def n_sentences(self) -> int:
        """Sentences, 0 when they were not asked for."""
        return len(self.sentence_starts) - 1

    @property
    def n_bytes(self) -> int:
        """Bytes of UTF-8 text behind the ids (end tokens have none)."""
        return self.report.n_bytes

    @cached_property
    def document_sentences(self) -> NDArray[np.int64]:
        """(n_documents + 1,): the first sentence of each document, closed by n_sentences."""
        import numpy as np

        return np.searchsorted(self.sentence_starts, self.document_starts).astype(np.int64)

    def document(self, i: int) -> NDArray[np.unsignedinteger]:
        """The ids of document i."""
        return self.ids[self.document_starts[i] : self.document_starts[i + 1]]

    def sentence(self, i: int) -> NDArray[np.unsignedinteger]:
        """The ids of sentence i."""
        return self.ids[self.sentence_starts[i] : self.sentence_starts[i + 1]]

    @classmethod
    def build(
        cls,
        source: Corpus,
        encode: Encode,
        *,
        cache: Path,
        tokenizer_digest: str,
        vocab_size: int,
        end_id: int | None = None,
        sentences: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> TokenCorpus:
        """The tokenized `source`: from `cache` if it is there for the same text, tokenizer and settings, else made now.

        encode: texts to ids, without special tokens, equal ids for equal text; end_id: appended to every document;
        sentences: record where sentences start (they are then encoded one by one, with the white space before them);
        progress: called with documents and bytes of text so far. Stdin is kept in `cache`.
        Raises InputRefused for text without a single token, StorageError when the cache cannot be written.
        """
        source = source.spooled(cache)
        settings = f"{FORMAT} {sys.byteorder} {tokenizer_digest} {vocab_size} {end_id} {sentences}"
        key = hashlib.sha256(f"{source.fingerprint()} {settings}".encode()).hexdigest()[:32]
        final = cache / f"corpus-{key}"
        found = cls._open(final, key)
        if found is not None:
            return found
        try:
            cache.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=".tmp-corpus-", dir=cache))
        except OSError as e:
            raise _storage_error(cache, e) from None
        try:
            _Writer(staged, encode, vocab_size, end_id, sentences, progress).write(source, key)
            _put(staged, final)
        except OSError as e:
            raise _storage_error(cache, e) from None
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        made = cls._open(final, key)
        if made is None:
            raise StorageError(
                f"{final} does not hold what was just written", "is the disk failing, or the cache shared?"
            )
        return made

    @classmethod
    def _open(cls, path: Path, key: str) -> TokenCorpus | None:
        """The corpus at `path`, or None when it is missing, damaged or another format."""
        import numpy as np

        try:
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
            if meta["format"] != FORMAT or meta["key"] != key or meta["dtype"] not in ("uint16", "uint32"):
                return None
            if any(
                file_sha256(path / name) != meta["files"][name]
                for name in ("ids.bin", "documents.bin", "sentences.bin")
            ):
                return None
            return cls(
                path=path,
                key=key,
                ids=np.memmap(path / "ids.bin", dtype=meta["dtype"], mode="r"),
                document_starts=np.fromfile(path / "documents.bin", dtype=np.int64),
                sentence_starts=np.fromfile(path / "sentences.bin", dtype=np.int64),
                content_sha256=meta["content"],
                report=DataReport(**meta["report"]),
            )
        except (OSError, StorageError, ValueError, KeyError, TypeError):
            return None


class _Writer:
    """Streams documents through `encode` into the files of a corpus directory."""

    def __init__(
        self,
        directory: Path,
        encode: Encode,
        vocab_size: int,
        end_id: int | None,
        sentences: bool,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self.directory, self.encode, self.end_id, self.sentences = directory, encode, end_id, sentences
        self.vocab_size, self.progress = vocab_size, progress
        self.dtype = "uint16" if vocab_size <= 1 << 16 else "uint32"
        self.content = hashlib.sha256()
        self.seen: set[bytes] = set()
        self.n_tokens = self.n_documents = self.n_sentences = 0
        self.n_bytes = self.n_chars = self.n_empty = self.n_duplicates = self.n_checked = 0
        self.has_tokens = False  # whether the document being written has any

    def write(self, source: Corpus, key: str) -> None:
        names = ("ids.bin", "documents.bin", "sentences.bin")
        with ExitStack() as stack:
            files = [stack.enter_context(open(self.directory / name, "wb")) for name in names]
            self.ids, self.documents, self.starts = files
            for batch in _batches(source.pieces()):
                self._batch(batch)
                if self.progress:
                    self.progress(self.n_documents, self.n_bytes)
            self._close_document()
            _write_offsets(self.documents, [self.n_tokens])
            _write_offsets(self.starts, [self.n_tokens])
            for f in files:
                f.flush()
                os.fsync(f.fileno())
        if not self.n_tokens:
            raise InputRefused(f"no text in {source.describe()}", "every document is empty or white space")
        report = DataReport(
            source.describe(), self.n_documents, self.n_sentences, self.n_bytes, self.n_chars, self.n_tokens,
            self.n_empty, self.n_duplicates, self.n_checked,
        )  # fmt: skip
        meta = {
            "format": FORMAT,
            "key": key,
            "dtype": self.dtype,
            "content": self.content.hexdigest(),
            "files": {name: file_sha256(self.directory / name) for name in names},
            "report": report.as_dict(),
        }
        with open(self.directory / "meta.json", "wb") as f:
            f.write(json.dumps(meta, indent=1).encode())
            f.flush()
            os.fsync(f.fileno())

    def _batch(self, batch: list[Piece]) -> None:
        import numpy as np

        texts: list[str] = []
        counts: list[int] = []
        for piece in batch:
            parts = [""] if _is_empty(piece) else sentence_segments(piece.text) if self.sentences else [piece.text]
            texts += parts
            counts.append(len(parts))
        encoded = self.encode(texts)
        if len(encoded) != len(texts):
            raise AssertionError(f"encode returned {len(encoded)} lists for {len(texts)} texts")
        at = 0
        for piece, count in zip(batch, counts, strict=True):
            if piece.first:
                self._close_document()
            self._account(piece)
            starts = []
            for ids in encoded[at : at + count]:
                if not ids:
                    continue
                if not self.has_tokens:
                    self.has_tokens = True
                    self.n_documents += 1
                    _write_offsets(self.documents, [self.n_tokens])
                array = np.asarray(ids, dtype=np.int64)
                if array.min() < 0 or array.max() >= self.vocab_size:
                    raise AssertionError(f"an id outside range({self.vocab_size})")
                self.ids.write(array.astype(self.dtype).tobytes())
                starts.append(self.n_tokens)
                self.n_tokens += len(ids)
            if self.sentences and starts:
                _write_offsets(self.starts, starts)
                self.n_sentences += len(starts)
            at += count

    def _account(self, piece: Piece) -> None:
        data = piece.text.encode("utf-8", "surrogatepass")
        self.content.update(b"\x00" if piece.first else b"\x01")
        self.content.update(len(data).to_bytes(8, "little"))
        self.content.update(data)
        self.n_bytes += len(data)
        self.n_chars += len(piece.text)
        if _is_empty(piece):
            self.n_empty += 1
        elif self.n_checked < _MOST_HASHES and piece.first:
            self.n_checked += 1
            digest = hashlib.blake2b(data, digest_size=8).digest()
            self.n_duplicates += digest in self.seen
            self.seen.add(digest)

    def _close_document(self) -> None:
        if self.has_tokens and self.end_id is not None:
            import numpy as np

            self.ids.write(np.asarray([self.end_id]).astype(self.dtype).tobytes())
            self.n_tokens += 1
        self.has_tokens = False


def _is_empty(piece: Piece) -> bool:
    # White space inside a long document counts as text; a short piece that begins a document is the whole of it.
    return piece.first and len(piece.text) < PIECE // 2 and not piece.text.strip()


def _batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= _BATCH_CHARS or len(batch) >= _BATCH_TEXTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_offsets(f: BinaryIO, offsets: list[int]) -> None:
    import numpy as np

    f.write(np.asarray(offsets, dtype=np.int64).tobytes())


def _put(staged: Path, final: Path) -> None:
    """Rename `staged` to `final`, in place of a damaged corpus there; a good one by another process does as well."""
    if final.exists():
        aside = Path(tempfile.mkdtemp(prefix=".tmp-corpus-", dir=final.parent))
        os.rename(final, aside / "old")
        shutil.rmtree(aside, ignore_errors=True)
    try:
        os.rename(staged, final)
    except OSError:
        if not (final / "meta.json").exists():
            raise


def _storage_error(cache: Path, e: OSError) -> StorageError:
    return StorageError(
        f"cannot write the tokenized corpus to {cache}: {(e.strerror or str(e)).lower()}",
        "free some space, or use another store",
    )
