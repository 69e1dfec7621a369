"""What a recipe's `data.train` names, as a stream of documents: built-in stories, files, globs, directories, stdin.

What a document is: a story; a record (JSONL, JSON, TSV, CSV); else a whole file. A large file comes in pieces of about
PIECE characters, cut at a blank line if there is one, else at a line end, else at a space, else anywhere (so a 100 MB
line is no trouble). Nothing is stripped: the pieces of a file joined are its text exactly.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from llmkit.data.codes import Codes, code_of, label_column, story_codes
from llmkit.data.columns import no_column, text_column
from llmkit.data.pieces import Piece, cut
from llmkit.data.rows import PACKED, Row, kind_of, read_jsonl, read_rows
from llmkit.data.spool import spool
from llmkit.data.text_in import STDIN, Errors, check_readable, packing_of, shown, text_chunks
from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.suggest import nearest

STORIES = "stories"
DEFAULT_STORIES = 20_000
STORY_BYTES = 440  # of a story, on average
MOST_NAMED = 2
FORMATS = {
    "text": "text",
    "jsonl": "JSON lines",
    "json": "JSON",
    "tsv": "TSV",
    "csv": "CSV",
    "parquet": "Parquet",
}
PACKING = 3  # how much smaller text gets when packed
_SUFFIXES = (".txt", ".text", ".md", ".jsonl", ".ndjson", ".parquet")

Sha256 = Callable[[Path], str]
Spec = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as f:
            while block := f.read(1 << 20):
                digest.update(block)
    except OSError as e:
        raise StorageError(f"cannot read {path}: {(e.strerror or str(e)).lower()}") from None
    return digest.hexdigest()


@dataclass(frozen=True)
class Source:
    """A corpus that can be read again and again.

    files: in reading order; field: the column or key that holds the text; stories: how many built-in stories come
    before the files, from `story_start` on, of the world with seed `seed`; coded: each document has a code (see
    `codes`); label: the column that holds it.
    """

    files: tuple[Path, ...]
    field: str | None = None
    stories: int = 0
    story_start: int = 0
    seed: int = 0
    errors: Errors = "strict"
    coded: bool = False
    label: str | None = None

    def pieces(self) -> Iterator[Piece]:
        """The documents, in order, long ones in pieces. Raises InputRefused for what is not readable as text."""
        for _, pieces in self.groups():
            yield from pieces

    def groups(self) -> Iterator[tuple[Path | None, Iterator[Piece]]]:
        """`pieces`, apart for the stories and each file; with the file if it is running text."""
        if self.stories:
            yield None, self._story_pieces()
        for path in self.files:
            yield path if self.kind(path) == "text" else None, self._file_pieces(path)

    def documents(self) -> Iterator[str]:
        """`pieces`, text only."""
        return (piece.text for piece in self.pieces())

    @property
    def texts(self) -> tuple[Path, ...]:
        """The files of running text."""
        return tuple(path for path in self.files if self.kind(path) == "text")

    @property
    def has_records(self) -> bool:
        """Whether there is something besides running text: stories, or files of records."""
        return bool(self.stories) or len(self.texts) < len(self.files)

    def kind(self, path: Path) -> str:
        """How a file is read. Stdin is JSONL when a field is asked for, else text."""
        kind = kind_of(path)
        return "jsonl" if kind == "text" and self.field is not None else kind

    def describe(self) -> str:
        """What was found, in a phrase: '20,000 built-in stories, a.txt (text), 12 files (JSON lines, gzip)'."""
        parts = [f"{self.stories:,} built-in stories"] if self.stories else []
        formats: dict[str, list[str]] = {}
        for path in self.files:
            packed = packing_of(path)
            found = FORMATS[self.kind(path)] + (f", {packed}" if packed else "")
            formats.setdefault(found, []).append(shown(path) if path == STDIN else Path(shown(path)).name)
        for found, names in formats.items():
            parts.append(f"{', '.join(names) if len(names) <= MOST_NAMED else f'{len(names):,} files'} ({found})")
        return ", ".join(parts)

    def n_bytes(self) -> int | None:
        """Size on disk (packed as it is), or None where that is unknown: stories, stdin."""
        if self.stories or not all(path.is_file() for path in self.files):
            return None
        return sum(path.stat().st_size for path in self.files)

    def about_bytes(self) -> int:
        """A guess at the size of the text, unpacked; pipes count as nothing."""
        sizes = (p.stat().st_size * (PACKING if p.suffix in PACKED else 1) for p in self.files if p.is_file())
        return self.stories * STORY_BYTES + sum(sizes)

    def fingerprint(self, sha256: Sha256 = file_sha256) -> str:
        """A sha256 of what determines the text: the bytes of each file and the settings. Names do not count.

        sha256: how to get that of a file.
        """
        digest = hashlib.sha256(b"llmkit source 1\n")
        if self.stories:
            from llmkit.data.stories import VERSION

            digest.update(f"stories {VERSION} {self.seed} {self.story_start} {self.stories}\n".encode())
        for path in self.files:
            if not path.is_file():
                raise AssertionError(f"{shown(path)} cannot be read twice; spool it first")
            digest.update(f"{self.kind(path)} {self.field} {self.errors} {sha256(path)}\n".encode())
            if self.coded:
                digest.update(f"code {self.label} {stem_of(path)!r}\n".encode())
        if self.coded:
            digest.update(b"coded\n")
        return digest.hexdigest()

    def codes(self) -> tuple[str, ...]:
        """The different codes of all documents, in order; reads all records.

        A document's code is the mood of a story, the label of a record, or the name of a text file without its ending.
        Raises InputRefused for codes that cannot be, or too many.
        """
        found = Codes()
        if self.stories:
            found.add_all(story_codes())
        for path in self.files:
            if self.kind(path) == "text":
                found.add(stem_of(path), shown(path))
            else:
                for number, row in self._rows(path, with_text=False):
                    found.add(self._code(path, number, row), f"{shown(path)}:{number}")
        return found.ordered()

    def spooled(self, directory: Path) -> Source:
        """This source with stdin and pipes copied to files in `directory`, so that it can be read twice."""
        return replace(self, files=tuple(p if p.is_file() else spool(p, directory) for p in self.files))

    def _story_pieces(self) -> Iterator[Piece]:
        from llmkit.data.stories import stories

        for story in stories(self.stories, self.seed, start=self.story_start):
            yield Piece(story.text, True, code=story.mood if self.coded else None)

    def _rows(self, path: Path, *, with_text: bool = True) -> Iterator[tuple[int, Row]]:
        """The records of a file; raises InputRefused when there are none."""

        def needed(names: list[str]) -> list[str]:
            columns = [text_column(names, self.field, shown(path), 1)] if with_text else []
            return [*columns, label_column(names, self.label, shown(path))] if self.coded else columns

        if self.kind(path) == "jsonl":
            rows = read_jsonl(path, self.errors)
        else:
            rows = read_rows(path, self.errors, needed)
        head = next(rows, None)
        if head is None:
            raise InputRefused(f"{shown(path)} is empty", "name a file with records in it")
        return chain([head], rows)

    def _code(self, path: Path, number: int, row: Row) -> str:
        return code_of(row, self.label, shown(path), number)

    def _file_pieces(self, path: Path) -> Iterator[Piece]:
        if self.kind(path) == "text":
            code = stem_of(path) if self.coded else None
            first = True
            for text in cut(text_chunks(path, self.errors)):
                yield Piece(text, first, True, code)
                first = False
            if first:
                raise InputRefused(f"{shown(path)} is empty", "name a file with text in it")
            return
        column = None
        for number, row in self._rows(path):
            if column is None:
                column = text_column(list(row), self.field, shown(path), number)
            if column not in row:
                # Missing from the start, it is the name that is wrong; missing further on, the record.
                raise no_column(InputRefused, shown(path), number, column, list(row))
            value = row[column]
            if not isinstance(value, str):
                raise InputRefused(f"{shown(path)}:{number}: field {column!r} is not text")
            yield Piece(value, True, code=self._code(path, number, row) if self.coded else None)


def open_source(
    spec: Spec,
    *,
    field: str | None = None,
    stories: int = DEFAULT_STORIES,
    seed: int = 0,
    errors: Errors = "strict",
    coded: bool = False,
    label: str | None = None,
) -> Source:
    """Find what `spec` names, without reading it: "stories", a path, a glob, a directory, "-", or a list of these.

    A directory means the text and JSONL files in it (packed or not), by name. `stories` and `seed` are for "stories";
    `coded` and `label` for documents with codes.
    Raises StorageError for what is missing, UsageError for a spec that cannot be right.
    """
    parts = [spec] if isinstance(spec, str | os.PathLike) else list(spec)
    files: list[Path] = []
    with_stories = 0
    for part in [os.fspath(p) for p in parts]:
        if part == STORIES:
            with_stories += 1
        elif not part:
            raise UsageError("an empty name where data is expected", "name a file, a glob, - or stories")
        else:
            files += _found(part)
    if not files and not with_stories:
        raise UsageError("no data named", "name a file, a glob, - or stories")
    if with_stories > 1 or files.count(STDIN) > 1:
        raise UsageError(f"{'stories' if with_stories > 1 else '- (stdin)'} is named twice")
    refuse_twice(files)
    if with_stories and stories < 1:
        raise UsageError(f"{stories} stories asked for", "data.stories must be at least 1")
    return Source(tuple(files), field, stories if with_stories else 0, 0, seed, errors, coded, label)


def read_documents(
    spec: Spec, *, field: str | None = None, stories: int = DEFAULT_STORIES, seed: int = 0, errors: Errors = "strict"
) -> Iterator[str]:
    """The documents `spec` names (see `open_source`), streaming; files over PIECE characters come in pieces."""
    return open_source(spec, field=field, stories=stories, seed=seed, errors=errors).documents()


def refuse_twice(files: Iterable[Path]) -> None:
    """Raise UsageError for a file that comes twice, by whatever names: what is held out of one copy is in the other."""
    seen: set[Path] = set()
    for path in files:
        real = path if path == STDIN else path.resolve()
        if real in seen:
            raise UsageError(
                f"{shown(path)} is named twice", "to read it more often, name it once and use data.weights"
            )
        seen.add(real)


def stem_of(path: Path) -> str:
    """The name of a file without its ending, and without .gz or .zst."""
    name = Path(shown(path)).name
    for packed in PACKED:
        name = name.removesuffix(packed)
    return Path(name).stem


def _found(part: str) -> list[Path]:
    if part == "-":
        return [STDIN]
    if "://" in part:
        raise UsageError(f"{part[:200]} is an address, and nothing is fetched from the network", "download it first")
    path = Path(part).expanduser()
    try:
        exists, is_dir = path.exists(), path.is_dir()
    except (OSError, ValueError) as e:
        raise StorageError(f"cannot read {part[:200]!r}: {str(e).lower()}") from None
    if is_dir:
        try:
            inside = sorted(p for p in path.iterdir() if _is_text_name(p) and p.is_file())
        except OSError as e:
            raise StorageError(f"cannot read directory {part}: {(e.strerror or str(e)).lower()}") from None
        if not inside:
            raise InputRefused(
                f"no text in directory {part}", f"looked for {', '.join('*' + s for s in _SUFFIXES)}, also .gz and .zst"
            )
        return inside
    if exists:
        return [path]
    if glob.has_magic(part):
        matches = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if not Path(p).is_dir())
        if not matches:
            raise StorageError(f"no file matches {part}")
        return matches
    if "," in part and all(Path(name.strip()).exists() for name in part.split(",")):
        raise StorageError(f"no such file: {part}", f"to name several, put them in brackets: [{part}]")
    check = nearest(part, [STORIES], most=1) if "/" not in part and "." not in part else []
    if check:
        raise StorageError(f"no such file: {part}", "did you mean 'stories'?")
    if path.parent.is_dir():
        near = nearest(path.name, sorted(p.name for p in path.parent.iterdir())[:2000], most=1)
        raise StorageError(f"no such file: {part}", f"did you mean {path.parent / near[0]}?" if near else None)
    check_readable(path)
    raise StorageError(f"no such file: {part}")


def _is_text_name(path: Path) -> bool:
    name = path.name.lower()
    return not name.startswith(".") and any(name.removesuffix(packed).endswith(_SUFFIXES) for packed in (".gz", ".zst"))
