"""`llmkit train-bpe`: learn a tokenizer from text."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from llmkit.cli import options
from llmkit.cli.output import json_text, refuse_overwriting
from llmkit.errors import StorageError, UsageError

if TYPE_CHECKING:
    from llmkit.tokenization.progress import Progress
    from llmkit.tokenization.report import Report

SCHEMA = "llmkit/train-bpe/1"
_SHORT_HELP = """usage: llmkit train-bpe corpus.txt
       llmkit train-bpe --vocab-size 16384 --name mine *.txt
       llmkit train-bpe stories
more: llmkit train-bpe --help"""


def train_bpe(
    files: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="FILE", help="Text, .gz, .zst, JSONL; - is stdin, stories the built-in corpus."),
    ] = None,
    vocab_size: Annotated[
        int,
        typer.Option("--vocab-size", help="Tokens wanted, special ones included; small texts give fewer.", metavar="N"),
    ] = 8192,
    algorithm: Annotated[
        str, typer.Option("--algorithm", "-a", help="bpe (byte-level), wordpiece, unigram or char.", metavar="NAME")
    ] = "bpe",
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--name", help="Name in the store [default: from the first file].", metavar="NAME"),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", help="Write DIR/tokenizer.json instead.", metavar="DIR"),
    ] = None,
    special: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--special", help="A further special token, such as [MASK]; repeatable.", metavar="TOKEN"),
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase/--cased", help="WordPiece: fold case and accents.")] = True,
    field: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--field", help="Field or column with the text of JSONL, CSV, TSV.", metavar="NAME"),
    ] = None,
    errors: Annotated[
        str, typer.Option("--errors", help="Bytes that are not UTF-8: strict or replace.", metavar="HOW")
    ] = "strict",
    force: Annotated[bool, typer.Option("--force", help="Replace a tokenizer that is there.")] = False,
    as_json: options.Json = False,
    store: options.Store = None,
    quiet: options.Quiet = False,
) -> None:
    """Learn a tokenizer from text; print the path of what was written.

    \b
    llmkit train-bpe corpus.txt                     byte-level BPE, 8192 tokens
    llmkit train-bpe --name mine --vocab-size 16384 data/*.txt
    llmkit train-bpe --algorithm wordpiece stories  as BERT, on built-in stories

    The same text gives the same file, byte for byte, on any number of threads.
    """
    from llmkit.data.sources import open_source
    from llmkit.data.text_in import NotText
    from llmkit.errors import CheckFailed
    from llmkit.render.console import is_terminal
    from llmkit.tokenization.report import HeldOut, measure
    from llmkit.tokenization.train import train

    if not files and (sys.stdin is None or is_terminal(sys.stdin)):
        print(_SHORT_HELP, file=sys.stderr)
        raise typer.Exit(2)
    if errors not in ("strict", "replace"):
        raise UsageError(f"--errors is {errors!r}", "use strict or replace")
    files = files or ["-"]
    start = time.perf_counter()
    source = open_source(files, field=field, errors="replace" if errors == "replace" else "strict")
    texts = HeldOut(source.documents())
    with _target(out, name or _default_name(files[0], algorithm), store, force=force) as directory:
        refuse_overwriting(directory / "tokenizer.json", source.files)
        with _watched(source.n_bytes(), quiet=quiet) as progress:
            try:
                tokenizer = train(
                    texts,
                    algorithm=algorithm,
                    vocab_size=vocab_size,
                    extra_special=special or (),
                    lowercase=lowercase,
                    progress=progress,
                )
            except NotText as error:
                raise NotText(error.message, f"{error.hint}; --errors replace reads it as it is") from None
        report = measure(tokenizer, texts.sample, held_out=texts.is_held_out)
        if tokenizer.is_lossless and not report.round_trip:
            raise CheckFailed("the tokenizer does not give its sample back; nothing was written", "please report this")
        tokenizer.save(directory)
    path = directory / "tokenizer.json"
    seconds = time.perf_counter() - start
    if as_json:
        body = {
            "schema": SCHEMA,
            "path": str(path),
            "algorithm": algorithm,
            **vars(report),
            "lossless": tokenizer.is_lossless,
            "seconds": round(seconds, 3),
            "sha256": tokenizer.sha256,
        }
        print(json_text(body))
    else:
        print(path)
    if not quiet:
        _say_report(report, algorithm, vocab_size, lossless=tokenizer.is_lossless, seconds=seconds)


def _say_report(report: Report, algorithm: str, wanted: int, *, lossless: bool, seconds: float) -> None:
    from llmkit.cli.models import say
    from llmkit.units import size

    if report.vocab_size < wanted:
        why = "every character is a token" if algorithm == "char" else "the text has no more pairs that repeat"
        say(f"vocabulary: {report.vocab_size:,} tokens instead of {wanted:,}; {why}")
    where = "held out" if report.held_out else "from the text itself, too small to hold any out"
    parts = [f"{algorithm}, {report.vocab_size:,} tokens"]
    if report.bytes_per_token is not None:
        parts.append(f"{report.bytes_per_token:.2f} bytes/token on {size(report.sample_bytes)} {where}")
    if lossless:
        parts.append("round trip exact")
    else:
        parts.append(f"{report.unknown:.2%} unknown")
        parts.append("round trip exact here" if report.round_trip else "not lossless")
    say(", ".join([*parts, f"{seconds:.1f} s"]))


def _default_name(first: str, algorithm: str) -> str:
    stem = "stdin" if first == "-" else Path(first).name.partition(".")[0]
    return (re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_") or "text")[:100] + f"-{algorithm}"


@contextmanager
def _target(out: Path | None, name: str, store: Path | None, *, force: bool) -> Iterator[Path]:
    """The directory to write to, made if need be and taken away again if nothing comes of it.

    Everything that can be wrong with it is found before the work starts.
    """
    import os

    from llmkit.checkpoint.refs import check_name, default_store
    from llmkit.checkpoint.store import RunDirectory

    directory = out if out is not None else default_store(store) / check_name(name)
    another = "choose another --name" if out is None else "choose another --out"
    if (directory / "tokenizer.json").exists() and not force:
        raise UsageError(f"{directory / 'tokenizer.json'} exists", f"replace it with --force, or {another}")
    if RunDirectory(directory).checkpoints():
        raise UsageError(f"{directory} is a training run", another)
    made: list[Path] = []
    try:
        for path in reversed([p for p in (directory, *directory.parents) if not p.exists()]):
            path.mkdir()
            made.append(path)
        if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
            raise StorageError(f"cannot write to {directory}", "choose another place with --out or --store")
        yield directory
    except OSError as error:
        raise StorageError(f"cannot write to {directory}: {(error.strerror or str(error)).lower()}") from None
    finally:
        if not (directory / "tokenizer.json").exists():
            for path in reversed(made):
                try:
                    path.rmdir()
                except OSError:
                    break


@contextmanager
def _watched(n_bytes: int | None, *, quiet: bool) -> Iterator[Progress]:
    """Progress on a terminal; plain lines elsewhere, few enough for a log."""
    from llmkit.render.console import is_terminal
    from llmkit.tokenization.progress import Silent

    if quiet:
        yield Silent()
    elif is_terminal(sys.stderr):
        from llmkit.render.console import make_console
        from llmkit.render.learning import LearningView

        with LearningView(make_console(sys.stderr), n_bytes) as view:
            yield view
    else:
        yield _plain_lines()


def _plain_lines() -> Progress:
    from llmkit.cli.models import say

    class PlainLines:
        n_chars = 0
        shown = time.monotonic()

        def read(self, n_chars: int) -> None:
            self.n_chars += n_chars
            self._maybe(f"read={self.n_chars}")

        def words(self, n_words: int) -> None:
            say(f"read={self.n_chars} words={n_words}")

        def merge(self, done: int, total: int, token: str, count: int) -> None:
            self._maybe(f"merge={done}/{total} count={count}")

        def fit(self, n_pieces: int, wanted: int) -> None:
            self._maybe(f"fit={n_pieces} wanted={wanted}")

        def _maybe(self, line: str) -> None:
            if time.monotonic() - self.shown > 5:
                self.shown = time.monotonic()
                say(line)

    return PlainLines()
