"""Writes a tokenized corpus: documents stream through an encoder into the files that corpus.py reads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from llmkit.data.report import DataReport
from llmkit.data.sentences import sentence_segments
from llmkit.data.sources import PIECE, Piece, file_sha256
from llmkit.data.split import Corpus
from llmkit.errors import InputRefused

Encode = Callable[[list[str]], list[list[int]]]
FORMAT = 1
FILES = ("ids.bin", "documents.bin", "sentences.bin")
_BATCH_CHARS = 1 << 20
_BATCH_TEXTS = 8192
_MOST_HASHES = 1 << 20


class CorpusWriter:
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
        """Write all files of the corpus and make them durable; `key` is noted in meta.json."""
        with ExitStack() as stack:
            files = [stack.enter_context(open(self.directory / name, "wb")) for name in FILES]
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
            "files": {name: file_sha256(self.directory / name) for name in FILES},
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
