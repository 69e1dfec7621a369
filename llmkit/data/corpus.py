"""A tokenized corpus on disk: built once by streaming, read as a memory map, reused while text and tokenizer stay.

A directory `corpus-<key>` in the cache holds ids.bin (uint16 or uint32), documents.bin and sentences.bin (int64
offsets into ids, closed by the total), digests.bin (sorted digests of the different documents) and meta.json (counts,
and sha256 of each file). The other side of pairs lies within, in `target`, in the same form. It appears whole by a
rename; a damaged or half-written one is built again. Memory stays flat: a batch of text and its ids are all that is
held.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.data.corpus_writer import FILES, FORMAT, TARGET, Progress, Settings, origins_of, write_corpus, write_pairs
from llmkit.data.digests import count_common
from llmkit.data.encoding import Encode, encoder_for
from llmkit.data.known_files import KnownFiles, is_settled, state_of, write_note
from llmkit.data.mapped import mapped
from llmkit.data.parallel import Pairs
from llmkit.data.report import DataReport
from llmkit.data.sources import file_sha256
from llmkit.data.split import Corpus
from llmkit.errors import StorageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TokenCorpus:
    """Token ids of a corpus.

    ids: (n_tokens,) uint16 or uint32; document_starts: (n_documents + 1,) int64, the last is n_tokens; sentence_starts:
    likewise, (1,) when sentences were not asked for; document_sentences: (n_documents + 1,) int64, the first sentence
    of each document, closed by n_sentences. A document's end token, if any, belongs to its last sentence, and its code,
    if any, to its first. target: of pairs, the other side, whose document i belongs to document i here. codes: what a
    document may begin with, in the order of their ids. All arrays are read from disk as they are needed.
    """

    path: Path
    key: str
    ids: NDArray[np.unsignedinteger]
    document_starts: NDArray[np.int64]
    sentence_starts: NDArray[np.int64]
    document_sentences: NDArray[np.int64]
    content_sha256: str
    report: DataReport
    target: TokenCorpus | None = None
    codes: tuple[str, ...] = ()

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
    def place(self) -> Path | None:
        """The directory that it lies in, None if it does not lie on disk."""
        return self.path if self.key else None

    @property
    def n_bytes(self) -> int:
        """Bytes of UTF-8 text behind the ids (end tokens have none)."""
        return self.report.n_bytes

    def document(self, i: int) -> NDArray[np.unsignedinteger]:
        """The ids of document i."""
        return self.ids[self.document_starts[i] : self.document_starts[i + 1]]

    def sentence(self, i: int) -> NDArray[np.unsignedinteger]:
        """The ids of sentence i."""
        return self.ids[self.sentence_starts[i] : self.sentence_starts[i + 1]]

    def count_common(self, other: TokenCorpus) -> int:
        """How many different documents (pairs) are in both corpora."""
        return count_common(self.path / FILES[-1], other.path / FILES[-1])

    @classmethod
    def in_memory(
        cls, ids: NDArray[np.integer], document_starts: NDArray[np.int64], sentence_starts: NDArray[np.int64]
    ) -> TokenCorpus:
        """A corpus of ids made up on the spot, with no text behind them."""
        import numpy as np

        counts = len(document_starts) - 1, len(sentence_starts) - 1
        report = DataReport("made up", *counts, len(ids), len(ids), len(ids), 0, 0)
        of_documents = np.searchsorted(sentence_starts, document_starts).astype(np.int64)
        return cls(Path(), "", ids, document_starts, sentence_starts, of_documents, "", report)  # type: ignore[arg-type]

    @classmethod
    def build(
        cls,
        source: Corpus | Pairs,
        encode: Encode,
        *,
        cache: Path,
        tokenizer_digest: str,
        vocab_size: int,
        end_id: int | None = None,
        sentences: bool = False,
        codes: Mapping[str, int] | None = None,
        verify: bool = False,
        tokenizer: bytes | None = None,
        progress: Progress | None = None,
    ) -> TokenCorpus:
        """The tokenized `source`: from `cache` if it is there for the same text, tokenizer and settings, else made now.

        encode: texts to ids, without special tokens, equal ids for equal text; end_id: appended to every document;
        sentences: record where sentences start (they are then encoded one by one, with the white space before them);
        codes: the id that a document begins with, by its code; verify: read all of what is in the cache, not only files
        that changed since they were last read; tokenizer: the tokenizer.json behind `encode`, with which several
        processes tokenize a large text; progress: called with documents and bytes so far. Stdin
        is kept in `cache`.
        Raises InputRefused for text without a single token, StorageError when the cache cannot be written.
        """
        source = source.spooled(cache)
        settings = Settings(vocab_size, end_id, sentences, codes)
        known = KnownFiles(cache)
        made_by = f"{FORMAT} {sys.byteorder} {tokenizer_digest} {settings}"
        key = hashlib.sha256(f"{source.fingerprint(known.sha256)} {made_by}".encode()).hexdigest()[:32]
        final = cache / f"corpus-{key}"
        found = cls._open(final, key, verify=verify)
        if found is not None:  # the same text may have come by another name
            return replace(found, report=found.report.renamed(source.describe(), origins_of(source)))
        try:
            cache.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(prefix=".tmp-corpus-", dir=cache))
        except OSError as e:
            raise _storage_error(cache, e) from None
        try:
            n_bytes = source.about_bytes()
            encoder = encoder_for(encode, tokenizer, n_bytes=n_bytes, vocab_size=vocab_size, sentences=sentences)
            if isinstance(source, Pairs):
                write_pairs(staged, source, encoder, settings, key, progress)
            else:
                write_corpus(staged, source, encoder, settings, key, progress)
            _put(staged, final, lambda: cls._open(final, key, verify=True) is not None)
        except OSError as e:
            raise _storage_error(cache, e) from None
        finally:
            shutil.rmtree(staged, ignore_errors=True)
        made = cls._open(final, key, verify=True)
        if made is None:
            raise StorageError(
                f"{final} does not hold what was just written", "is the disk failing, or the cache shared?"
            )
        return made

    @classmethod
    def _open(cls, path: Path, key: str, *, verify: bool) -> TokenCorpus | None:
        """The corpus at `path`, or None when it is missing, damaged or another format."""
        try:
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
            if meta["format"] != FORMAT or meta["key"] != key or meta["dtype"] not in ("uint16", "uint32"):
                return None
            if not _is_whole(path, meta["files"], verify=verify):
                return None
            report = DataReport.read(meta["report"])
            target = None if report.target is None else cls._open(path / TARGET, key, verify=verify)
            if report.target is not None and (target is None or target.n_documents != report.n_documents):
                return None
            return cls(
                path=path,
                key=key,
                ids=mapped(path / "ids.bin", meta["dtype"]),
                document_starts=mapped(path / "documents.bin", "int64"),
                sentence_starts=mapped(path / "sentences.bin", "int64"),
                document_sentences=mapped(path / "document_sentences.bin", "int64"),
                content_sha256=meta["content"],
                report=report,
                target=target,
                codes=tuple(meta["codes"]),
            )
        except (OSError, StorageError, ValueError, KeyError, TypeError):
            return None


def _is_whole(path: Path, files: Mapping[str, str], *, verify: bool) -> bool:
    """Whether the files are those that were written; all are read if one has changed since they last were."""
    note, now = path / "verified.json", time.time_ns()
    states = {name: state_of(path / name) for name in FILES}
    if not verify:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            known = json.loads(note.read_text(encoding="utf-8"))
            if known["states"] == states and all(is_settled(s, known["noted_ns"]) for s in states.values() if s):
                return True
    if any(file_sha256(path / name) != files[name] for name in FILES):
        return False
    write_note(note, {"states": states, "noted_ns": now})
    return True


def _put(staged: Path, final: Path, is_good: Callable[[], bool]) -> None:
    """Rename `staged` to `final`, in place of a damaged corpus there; a good one by another process does as well."""
    aside = None
    if final.exists():
        if is_good():
            return
        aside = Path(tempfile.mkdtemp(prefix=".tmp-corpus-", dir=final.parent))
        os.rename(final, aside / "old")
    try:
        os.rename(staged, final)
    except OSError:
        if not (final / "meta.json").exists():
            raise
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _storage_error(cache: Path, e: OSError) -> StorageError:
    return StorageError(
        f"cannot write the tokenized corpus to {cache}: {(e.strerror or str(e)).lower()}",
        "free some space, or use another store",
    )
