"""Writes a tokenized corpus: documents stream through an encoder into the files that corpus.py reads."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from llmkit.data.digests import digest_of, sort_digests
from llmkit.data.encoding import Encoder, Ids, kind_of_ids
from llmkit.data.pieces import PIECE, Piece
from llmkit.data.report import DataReport, Share
from llmkit.data.sources import file_sha256
from llmkit.errors import InputRefused

if TYPE_CHECKING:
    from llmkit.data.parallel import Pair, Pairs
    from llmkit.data.split import Corpus

T = TypeVar("T", "Piece", "Pair")
Progress = Callable[[int, int], None]
FORMAT = 3
FILES = ("ids.bin", "documents.bin", "sentences.bin", "document_sentences.bin", "digests.bin")
TARGET = "target"
"""Where the other side of pairs lies within the corpus."""
_BATCH_CHARS = 1 << 20
_BATCH_TEXTS = 8192


@runtime_checkable
class Together(Protocol):
    """Several sources in one."""

    def origins(self) -> tuple[str, ...]:
        """What each is, by the `origin` of its pieces."""


@dataclass(frozen=True)
class Settings:
    """How documents become ids.

    end_id: appended to every document; sentences: record where sentences start, which are then encoded one by one;
    codes: the id that each document begins with, by the document's code.
    """

    vocab_size: int
    end_id: int | None = None
    sentences: bool = False
    codes: Mapping[str, int] | None = None


class CorpusWriter:
    """The files of one corpus directory, as they grow. `put` documents, then `finish`; a context manager."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        directory.mkdir(exist_ok=True)
        self.directory, self.settings = directory, settings
        self.dtype = "uint16" if settings.vocab_size <= 1 << 16 else "uint32"
        self._stack = ExitStack()
        self._files = [self._stack.enter_context(open(directory / name, "wb")) for name in FILES]  # noqa: SIM115
        # In the order of FILES: ids, where documents and sentences start, the first sentence of documents, digests.
        self._held = (array(kind_of_ids(settings.vocab_size)), array("q"), array("q"), array("q"), array("Q"))
        self._content = hashlib.sha256()
        self._digest = digest_of()
        self._in_document = self._has_tokens = self._again = False
        self.n_tokens = self.n_documents = self.n_sentences = self.n_bytes = self.n_chars = self.n_empty = 0
        self.n_digests = self._origin = 0
        self._of: Counter[int] = Counter()  # documents, and tokens, of each origin
        self._tokens_of: Counter[int] = Counter()

    def __enter__(self) -> CorpusWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def put(self, piece: Piece, encoded: Iterable[Ids], beside: str = "") -> None:
        """One piece and the ids of its parts (of its sentences, if those count).

        beside: what else must be equal for a document to be a repeat.
        """
        if piece.first:
            self._end_document()
        self._account(piece)
        if beside:
            self._digest.update(b"\0" + beside.encode("utf-8", "surrogatepass"))
        ids, documents, starts, firsts, _ = self._held
        for part in encoded:
            if not len(part):
                continue
            start = self.n_tokens
            if not self._has_tokens:
                self._has_tokens = True
                self.n_documents += 1
                self._origin = piece.origin
                self._of[piece.origin] += 1
                documents.append(self.n_tokens)
                firsts.append(self.n_sentences)
                if self.settings.codes is not None and piece.code is not None:
                    ids.append(self.settings.codes[piece.code])
                    self.n_tokens += 1
                    self._tokens_of[piece.origin] += 1
            if self.settings.sentences:
                starts.append(start)
                self.n_sentences += 1
            try:
                ids.extend(part)
            except OverflowError:
                raise AssertionError(f"an id outside range({self.settings.vocab_size})") from None
            self.n_tokens += len(part)
            self._tokens_of[piece.origin] += len(part)

    def flush(self) -> None:
        """Hand what is held to the files."""
        import numpy as np

        ids = self._held[0]
        if ids and np.frombuffer(ids, dtype=self.dtype).max() >= self.settings.vocab_size:
            raise AssertionError(f"an id outside range({self.settings.vocab_size})")
        for held, file in zip(self._held, self._files, strict=True):
            held.tofile(file)
            del held[:]

    def finish(self) -> str:
        """Write all that is left and make it durable; returns the digest of the text."""
        self._end_document()
        self._held[1].append(self.n_tokens)
        self._held[2].append(self.n_tokens)
        self._held[3].append(self.n_sentences)
        self.flush()
        self._files[-1].flush()
        self.n_unique = sort_digests(self.directory / FILES[-1])
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        return self._content.hexdigest()

    def report(self, source: str, origins: Iterable[str] = ()) -> DataReport:
        """The counts, once finished; origins: the names of what came together."""
        return DataReport(
            source=source,
            n_documents=self.n_documents,
            n_sentences=self.n_sentences,
            n_bytes=self.n_bytes,
            n_chars=self.n_chars,
            n_tokens=self.n_tokens,
            n_empty=self.n_empty,
            n_duplicates=self.n_digests - self.n_unique,
            shares=tuple(Share(name, self._of[i], self._tokens_of[i]) for i, name in enumerate(origins)),
        )

    def note(self, key: str, content: str, report: DataReport) -> None:
        """Write meta.json, which makes the directory a corpus."""
        meta = {
            "format": FORMAT,
            "key": key,
            "dtype": self.dtype,
            "content": content,
            "codes": list(self.settings.codes or ()),
            "files": {name: file_sha256(self.directory / name) for name in FILES},
            "report": report.as_dict(),
        }
        with open(self.directory / "meta.json", "wb") as f:
            f.write(json.dumps(meta, indent=1).encode())
            f.flush()
            os.fsync(f.fileno())

    def _account(self, piece: Piece) -> None:
        data = piece.text.encode("utf-8", "surrogatepass")
        self._content.update(b"\x00" if piece.first else b"\x01")
        if piece.code is not None:
            self._content.update(piece.code.encode("utf-8", "surrogatepass"))
        self._content.update(len(data).to_bytes(8, "little"))
        self._content.update(data)
        self.n_bytes += len(data)
        self.n_chars += len(piece.text)
        if is_empty(piece):
            self.n_empty += 1
        else:
            self._in_document, self._again = True, piece.again
            self._digest.update(data)

    def _end_document(self) -> None:
        if self._in_document and not self._again:
            self._held[-1].append(int.from_bytes(self._digest.digest(), "big"))
            self.n_digests += 1
        if self._in_document:
            self._digest = digest_of()
        if self._has_tokens and self.settings.end_id is not None:
            self._held[0].append(self.settings.end_id)
            self.n_tokens += 1
            self._tokens_of[self._origin] += 1
        self._in_document = self._has_tokens = False


def write_corpus(
    directory: Path, source: Corpus, encoder: Encoder, settings: Settings, key: str, progress: Progress | None
) -> None:
    """Write the corpus of `source` into `directory`. Raises InputRefused when there is not a single token."""
    batches = _batches(source.pieces(), lambda piece: len(piece.text))
    asked = ((batch, ["" if is_empty(piece) else piece.text for piece in batch]) for batch in batches)
    with CorpusWriter(directory, settings) as out, closing(encoder.run(asked)) as answers:
        for batch, rows in answers:
            for piece, parts in zip(batch, rows, strict=True):
                out.put(piece, parts)
            out.flush()
            if progress:
                progress(out.n_documents, out.n_bytes)
        content = out.finish()
        if not out.n_tokens:
            raise InputRefused(
                f"no text in {source.describe()}",
                "use more text; of a small one hold out a larger part (data.validation_fraction)",
            )
        out.note(key, content, out.report(source.describe(), origins_of(source)))


def write_pairs(
    directory: Path, source: Pairs, encoder: Encoder, settings: Settings, key: str, progress: Progress | None
) -> None:
    """Write both sides of `source` into `directory`, the targets into TARGET within it.

    A pair without a token on one side is left out on both. Raises InputRefused when none is left.
    """
    left_out = 0
    batches = _batches(source.pairs(), lambda pair: len(pair.text) + len(pair.target))
    asked = ((batch, [side for pair in batch for side in (pair.text, pair.target)]) for batch in batches)
    with (
        CorpusWriter(directory, settings) as out,
        CorpusWriter(directory / TARGET, settings) as other,
        closing(encoder.run(asked)) as answers,
    ):
        for batch, rows in answers:
            for pair, ours, theirs in zip(batch, rows[::2], rows[1::2], strict=True):
                if not any(map(len, ours)) or not any(map(len, theirs)):
                    left_out += 1
                    continue
                piece = Piece(pair.text, True, origin=pair.origin, again=pair.again)
                out.put(piece, ours, beside=pair.target)
                other.put(piece._replace(text=pair.target), theirs)
            out.flush()
            other.flush()
            if progress:
                progress(out.n_documents, out.n_bytes + other.n_bytes)
        content, target_content = out.finish(), other.finish()
        if not out.n_tokens:
            raise InputRefused(f"no pairs in {source.describe()}", "each has a side that is empty or white space")
        other.note(key, target_content, target := other.report("target"))
        report = out.report(source.describe(), origins_of(source)).with_target(target, left_out)
        out.note(key, hashlib.sha256(f"{content} {target_content}".encode()).hexdigest(), report)


def origins_of(source: Corpus | Pairs) -> tuple[str, ...]:
    """The names of what came together in a source, none of a single one."""
    return source.origins() if isinstance(source, Together) else ()


def is_empty(piece: Piece) -> bool:
    """Whether a document is white space only; within a long one that counts as text."""
    return piece.first and len(piece.text) < PIECE // 2 and not piece.text.strip()


def _batches(items: Iterator[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    batch: list[T] = []
    held = 0
    for item in items:
        batch.append(item)
        held += size(item)
        if held >= _BATCH_CHARS or len(batch) >= _BATCH_TEXTS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch
