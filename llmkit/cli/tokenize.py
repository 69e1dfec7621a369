"""`llmkit tokenize`: text to tokens and back, streaming."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from llmkit.cli import options
from llmkit.errors import UsageError

_SHORT_HELP = """usage: llmkit tokenize FILE
       cat corpus.txt | llmkit tokenize --ids | head
       llmkit tokenize --count corpus.txt
more: llmkit tokenize --help"""
_Flag = typer.Option


def tokenize(
    files: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="FILE|-", help="Text, also .gz and .zst; - is stdin.", show_default=False),
    ] = None,
    ids: Annotated[bool, _Flag("--ids", help="Ids, one record a line [default in a pipe].")] = False,
    tokens: Annotated[bool, _Flag("--tokens", help="Tokens as the vocabulary spells them, one record a line.")] = False,
    offsets: Annotated[bool, _Flag("--offsets", help="start:end of each token, in characters of its record.")] = False,
    count: Annotated[bool, _Flag("--count", help="Only the number of tokens in the whole text.")] = False,
    jsonl: Annotated[bool, _Flag("--jsonl", help="Records as JSON lines: ids, tokens, offsets.")] = False,
    decode: Annotated[
        bool, _Flag("--decode", help="The inverse: ids (or with --jsonl their records) to text.")
    ] = False,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        _Flag("--out", help="Pack ids into FILE (uint16 or uint32) with FILE.json.", metavar="FILE"),
    ] = None,
    field: Annotated[
        Optional[str],  # noqa: UP045
        _Flag("--field", help="Read JSON lines; the text is in this field.", metavar="NAME"),
    ] = None,
    tokenizer: Annotated[
        Optional[str],  # noqa: UP045
        _Flag("--tokenizer", "-t", help="A name, a directory or a tokenizer.json [default: newest].", metavar="REF"),
    ] = None,
    special: Annotated[
        bool, _Flag("--add-special", help="Add the special tokens a model expects around text.")
    ] = False,
    errors: Annotated[
        str, _Flag("--errors", help="Bytes that are not UTF-8: strict or replace.", metavar="HOW")
    ] = "strict",
    force: Annotated[bool, _Flag("--force", help="Replace the file that --out names.")] = False,
    as_json: Annotated[bool, _Flag("--json", help="JSON lines on stdout, one a record; --count: one object.")] = False,
    store: options.Store = None,
    quiet: options.Quiet = False,
) -> None:
    """Text to tokens and back, streaming; a record is a line.

    \b
    llmkit tokenize notes.txt                       coloured tokens on a terminal
    cat corpus.txt | llmkit tokenize --ids | head   ids, one line a record
    llmkit tokenize --count corpus.txt              how many tokens
    llmkit tokenize --jsonl --field text in.jsonl   JSON lines in and out
    llmkit tokenize --ids < a | llmkit tokenize --decode > b   b is a
    llmkit tokenize --out corpus.bin *.txt          packed for training

    Byte-level tokenizers give every byte back; WordPiece and Unigram lose case,
    accents or spacing. A last line without a line end stays without one.
    """
    from llmkit.cli.token_faces import Job, run
    from llmkit.cli.tokenizers import choose_tokenizer
    from llmkit.render.console import is_terminal

    faces = {"ids": ids, "tokens": tokens, "offsets": offsets, "count": count, "decode": decode, "out": out is not None}
    chosen = [name for name, is_on in faces.items() if is_on]
    for name in ("ids", "tokens", "offsets"):
        if faces[name] and (jsonl or as_json):
            flag = "--json" if as_json else "--jsonl"
            raise UsageError(f"{flag} and --{name} exclude each other", f"{flag} alone gives ids, tokens and offsets")
    if (jsonl or as_json) and not chosen:
        chosen = ["jsonl"]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other", "ask for one kind of output")
    if errors not in ("strict", "replace"):
        raise UsageError(f"--errors is {errors!r}", "use strict or replace")
    if not files and (sys.stdin is None or is_terminal(sys.stdin)):
        print(_SHORT_HELP, file=sys.stderr)
        raise typer.Exit(2)
    if out is not None:
        its_files = [tokenizer, f"{tokenizer}/tokenizer.json"] if tokenizer else []
        _check_target(out, [*(files or ["-"]), *its_files], force)
    used, note = choose_tokenizer(tokenizer, store)
    on_terminal = is_terminal(sys.stdout)
    job = Job(
        tokenizer=used,
        note=None if quiet else note,
        files=tuple(files or ["-"]),
        field=field,
        special=special,
        errors="replace" if errors == "replace" else "strict",
        as_json=jsonl or as_json,
        schema=as_json,
        out=out,
        on_terminal=on_terminal,
        quiet=quiet,
    )
    run(chosen[0] if chosen else "view" if on_terminal else "ids", job)


def _check_target(out: Path, inputs: list[str], force: bool) -> None:
    """Refuse to replace what is there without --force, and an input in any case."""
    from llmkit.cli.output import refuse_overwriting

    for path in (out, Path(f"{out}.json")):
        refuse_overwriting(path, inputs)
        if path.exists() and not force:
            raise UsageError(f"{path} exists", "choose another name, or replace it with --force")
