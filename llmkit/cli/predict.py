"""`llmkit predict`: encoders in a pipe. One line in, one line out, order kept."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from llmkit.cli import options
from llmkit.cli.help import PlainCommand, command_group
from llmkit.cli.models import CLASSIFY, FILL_MASK, load_model
from llmkit.cli.output import json_text
from llmkit.cli.page import Talk, write_raw
from llmkit.errors import InputRefused, UsageError

WINDOW = 512
"""Lines sorted by length together: bounds memory, and how much is read before the first answer."""

app = command_group(
    """Encoders in a pipe: one line in, one line out, order kept.

    \b
    llmkit predict fill-mask "The [MASK] sat on the mat."
    llmkit predict classify < reviews.txt > labels.tsv
    """
)
Texts = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(help="Texts; none or - reads lines from stdin.", metavar="TEXT"),
]
Jsonl = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--jsonl", help="JSON lines in, JSON lines out; - is stdin.", metavar="FILE"),
]
Field = Annotated[str, typer.Option("--field", help="Where a JSON line holds its text.", metavar="NAME")]


@dataclass(frozen=True)
class Question:
    """One input. number: its line; extra: what goes into the JSON answer unchanged."""

    number: int
    text: str
    pair: str | None = None
    extra: dict[str, object] = field(default_factory=dict)


@app.command("fill-mask", cls=PlainCommand)
def fill_mask(
    texts: Texts = None,
    top: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Guesses per mask [default: 5; in a pipe the filled line].", metavar="K"),
    ] = None,
    model: options.Model = None,
    store: options.Store = None,
    as_json: options.JsonLines = False,
    jsonl: Jsonl = None,
    field: Field = "text",
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Put words for the masks in each line.

    \b
    llmkit predict fill-mask "The [MASK] sat on the mat."
    llmkit predict fill-mask < lines.txt > filled.txt
    llmkit predict fill-mask --top 3 < lines.txt   word, probability, word, ...

    A mask is [MASK], <mask> or what the tokenizer calls it. Several in a line are guessed at once, each as if the
    others stayed hidden. A line without one passes unchanged (said once on stderr).
    """
    questions = _questions(texts, jsonl, "fill-mask", field)
    _, loaded = load_model(model, store, (FILL_MASK,), quiet=quiet, device=device)
    from llmkit.cli.answers import show_filled
    from llmkit.prediction.fill_mask import MaskFiller

    filler = MaskFiller(loaded.one_tower, loaded.tokenizer, top=top or 5)
    talk = Talk(quiet=quiet)
    _note_file_names(texts, "fill-mask", talk)
    for group in questions:
        for question, answer in zip(group, filler([q.text for q in group]), strict=True):
            if not answer.blanks and question.text.strip():
                talk.note_first("no-mask", f"line {question.number} has no mask; lines without one pass unchanged")
            if as_json or jsonl is not None:
                _print_json("fill-mask", question, answer.as_json())
            else:
                show_filled(answer, top)


@app.command("classify", cls=PlainCommand)
def classify(
    texts: Texts = None,
    model: options.Model = None,
    store: options.Store = None,
    as_json: options.JsonLines = False,
    jsonl: Jsonl = None,
    field: Field = "text",
    pair: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--pair", help="Where a JSON line holds the second text of a pair.", metavar="NAME"),
    ] = None,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """A label and its probability for each line.

    \b
    llmkit predict classify "What a lovely film."
    llmkit predict classify < reviews.txt | cut -f1 | sort | uniq -c
    llmkit predict classify --json < reviews.txt     all probabilities

    A text longer than the model's context is cut at its end (said once on stderr).
    """
    questions = _questions(texts, jsonl, "classify", field, pair)
    if pair is not None and jsonl is None:
        raise UsageError("--pair needs --jsonl", "pairs are read from JSON lines")
    _, loaded = load_model(model, store, (CLASSIFY,), quiet=quiet, device=device)
    from llmkit.cli.answers import show_label
    from llmkit.prediction.classify import Classifier

    classifier = Classifier(loaded.model, loaded.tokenizer)
    talk = Talk(quiet=quiet)
    _note_file_names(texts, "classify", talk)
    for group in questions:
        inputs = [q.text if q.pair is None else (q.text, q.pair) for q in group]
        for question, answer in zip(group, classifier(inputs), strict=True):
            if answer.was_cut:
                talk.note_first("cut", f"line {question.number} is longer than the model's context; its end is cut off")
            if as_json or jsonl is not None:
                _print_json("classify", question, answer.as_json())
            else:
                show_label(question.text, answer, classifier.labels)


def _questions(
    texts: list[str] | None, jsonl: Path | None, command: str, field: str, pair_field: str | None = None
) -> Iterator[list[Question]]:
    """Groups of inputs: texts of the command line, else JSON lines, else lines of stdin. Short help when there is none.

    What is wrong with the arguments is raised here and not at the first group, before a model is loaded.
    """
    from llmkit.cli.lines import windows
    from llmkit.data.text_in import STDIN, check_readable
    from llmkit.render.console import is_terminal

    if jsonl is not None:
        if texts:
            raise UsageError("texts and --jsonl exclude each other", "put the texts into the JSON lines")
        check_readable(jsonl)
        return _json_questions(jsonl, field, pair_field)
    if texts and texts != ["-"]:
        if any("\ud800" <= c <= "\udfff" for text in texts for c in text):
            raise InputRefused("a text is not valid UTF-8", "pass it through stdin")
        return iter([[Question(number, text) for number, text in enumerate(texts, 1)]])
    if not texts and (sys.stdin is None or is_terminal(sys.stdin)):
        usage = f"usage: llmkit predict {command} TEXT...\n       llmkit predict {command} < lines.txt"
        print(f"{usage}\nmore: llmkit predict {command} --help", file=sys.stderr)
        raise typer.Exit(2)
    return ([Question(number, line) for number, line in group] for group in windows(STDIN, WINDOW))


def _note_file_names(texts: list[str] | None, command: str, talk: Talk) -> None:
    """A text may be any words, so also the name of a file; but whoever typed one most likely meant what is in it."""
    for text in texts or ():
        if os.path.isfile(text):
            how = f"llmkit predict {command} < {shlex.quote(text)}"
            talk.note_first("file", f"{text!r} is taken as a text; to read the file: {how}")


def _json_questions(source: Path, field: str, pair_field: str | None) -> Iterator[list[Question]]:
    from llmkit.cli.lines import windows
    from llmkit.cli.records import identity, parse_record, text_of
    from llmkit.tokenization.stream import before_refusal

    is_first = True

    def read(numbered: tuple[int, str]) -> Question:
        nonlocal is_first
        number, line = numbered
        record = parse_record(source, number, line, field)
        pair = None if pair_field is None else text_of(source, number, record, pair_field, is_first=is_first)
        text = text_of(source, number, record, field, is_first=is_first)
        is_first = False
        return Question(number, text, pair, identity(record))

    for group in windows(source, WINDOW):
        questions, refusal = before_refusal(((number, line) for number, line in group if line.strip()), read)
        yield questions
        if refusal is not None:
            raise refusal


def _print_json(command: str, question: Question, body: dict[str, Any]) -> None:
    write_raw(json_text({"schema": f"llmkit/predict-{command}/1", **question.extra, **body}) + "\n")
