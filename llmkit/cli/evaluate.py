"""`llmkit evaluate`: figures of a checkpoint on files, and exit code 3 when they are not good enough."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from llmkit.cli import options
from llmkit.cli.models import CLASSIFY, FILL_MASK, GENERATE, JOBS, Job, load_model, say
from llmkit.cli.output import json_text
from llmkit.cli.page import write_raw
from llmkit.errors import CheckFailed, InputRefused, UsageError

if TYPE_CHECKING:
    from llmkit.api import Loaded

METRICS = {
    "next-token": ("loss", "perplexity", "bits_per_byte", "accuracy"),
    "hidden-token": ("loss", "perplexity", "accuracy"),
    "classification": ("accuracy", "macro_f1"),
}


@dataclass(frozen=True)
class Score:
    """Figures of one file. details: what else is worth keeping (counts, confusion)."""

    file: str
    metrics: dict[str, float]
    details: dict[str, Any]


def evaluate(
    files: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(help="Text, JSONL, .gz, .zst, - for stdin; tables for classifiers.", metavar="FILE"),
    ] = None,
    model: options.Model = None,
    store: options.Store = None,
    field: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Field or column that holds the text.", metavar="NAME"),
    ] = None,
    pair: Annotated[Optional[str], typer.Option(help="Column of second texts.", metavar="NAME")] = None,  # noqa: UP045
    label: Annotated[Optional[str], typer.Option(help="Column of labels.", metavar="NAME")] = None,  # noqa: UP045
    stride: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="Decoders: tokens between windows [default: half the context].", metavar="TOKENS"),
    ] = None,
    at_least: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--min", help="Exit 3 below it: accuracy=0.8; a bare number is accuracy.", metavar="METRIC=VALUE"),
    ] = None,
    at_most: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--max", help="Exit 3 above it: bits_per_byte=1.5; a bare number is loss.", metavar="METRIC=VALUE"
        ),
    ] = None,
    as_json: options.Json = False,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    quiet: options.Quiet = False,
) -> None:
    """Score a checkpoint on files.

    \b
    llmkit evaluate held-out.txt --max bits_per_byte=1.6
    llmkit evaluate dev.tsv --model sst2 --min accuracy=0.8

    Decoders: loss (nats per token), perplexity, bits per byte and accuracy of every next token, in windows of the
    model's context that begin --stride tokens apart, each token scored once. Encoders trained with masks: the same of
    15 % of the tokens, hidden at places that --seed fixes. Classifiers: accuracy, macro F1 and the confusion table.
    """
    from llmkit.checkpoint.refs import default_store, reference
    from llmkit.render.console import is_terminal

    if not files and (sys.stdin is None or is_terminal(sys.stdin)):
        print(
            "usage: llmkit evaluate FILE...\n       llmkit evaluate < text.txt\nmore: llmkit evaluate --help",
            file=sys.stderr,
        )
        raise typer.Exit(2)
    files = files or ["-"]
    limits = [_limit(text, "accuracy", 1) for text in at_least or ()] + [_limit(t, "loss", -1) for t in at_most or ()]
    jobs = _jobs(files, field, label) if model is None else JOBS
    path, loaded = load_model(model, store, jobs, quiet=quiet, device=device)
    head = loaded.config.head
    if head == "classification":
        task, score = "classification", lambda name: _labels(loaded, name, field, pair, label)
    elif head == "causal_lm":
        task, score = "next-token", lambda name: _next_tokens(loaded, name, field, stride)
    else:
        task, score = "hidden-token", lambda name: _hidden_tokens(loaded, name, field, seed)
    for name, _, _ in limits:
        if name not in METRICS[task]:
            from llmkit.suggest import did_you_mean

            near = did_you_mean(name, METRICS[task])
            raise UsageError(f"no metric {name!r} here", near or f"there are: {', '.join(METRICS[task])}")
    found: list[Score] = []
    for name in files:
        found.append(score(name))
        if not quiet and (unknown := found[-1].details.get("n_unknown")):
            say(_lost(name, unknown))
        if not as_json:
            show = _shown if is_terminal(sys.stdout) else _row
            write_raw(show(found[-1]))
    if as_json:
        write_raw(json_text(_body(found, task, reference(path, default_store(store))), allow_nan=False) + "\n")
    _check(found, limits)


def _jobs(files: list[str], field: str | None, label: str | None) -> tuple[Job, ...]:
    """What a model that is chosen for the user must be able to do with these files."""
    from llmkit.data.rows import kind_of

    kinds = {kind_of(Path(name)) for name in files}
    if label is not None or (kinds <= {"csv", "tsv"} and field is None):
        return (CLASSIFY,)
    return (GENERATE, FILL_MASK) if "text" in kinds else JOBS


def _next_tokens(loaded: Loaded, name: str, field: str | None, stride: int | None) -> Score:
    from llmkit.prediction.score_text import score_next_tokens

    context = loaded.config.max_seq_len
    if stride is not None and stride > context:
        raise UsageError(f"--stride is {stride}, the context {context}", f"use at most {context}")
    found = score_next_tokens(loaded.one_tower, loaded.tokenizer, _documents(name, field), stride=stride)
    settings = {"context": context, "stride": stride or max(1, context // 2)}
    return _text_score(name, found, "next-token", settings)


def _hidden_tokens(loaded: Loaded, name: str, field: str | None, seed: int) -> Score:
    from llmkit.prediction.score_text import MASK_RATE, score_hidden_tokens

    found = score_hidden_tokens(loaded.one_tower, loaded.tokenizer, _documents(name, field), seed=seed)
    return _text_score(name, found, "hidden-token", {"hidden_share": MASK_RATE, "seed": seed})


def _text_score(name: str, found: Any, task: str, settings: dict[str, Any]) -> Score:
    if not found.n_scored:
        raise InputRefused(f"{name} has no text to score")
    return Score(name, {metric: getattr(found, metric) for metric in METRICS[task]}, {**settings, **asdict(found)})


def _labels(loaded: Loaded, name: str, text: str | None, pair: str | None, label: str | None) -> Score:
    import numpy as np

    from llmkit.data.labelled import read_table
    from llmkit.prediction.classify import Classifier
    from llmkit.training.scores import Result

    labels = loaded.config.labels
    table = read_table(name, text=text, pair=pair, label=label, labels=labels)
    classifier = Classifier(loaded.model, loaded.tokenizer)
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for start in range(0, len(table.rows), 1024):
        rows = table.rows[start : start + 1024]
        answers = classifier([row.text if row.pair is None else (row.text, row.pair) for row in rows])
        np.add.at(counts, ([row.label for row in rows], [answer.best for answer in answers]), 1)
    result = Result(name, labels, counts)
    return Score(name, {"accuracy": result.accuracy, "macro_f1": result.macro_f1}, result.as_json())


def _lost(name: str, unknown: int) -> str:
    what = f"{unknown:,} character{'s have' if unknown > 1 else ' has'} no token in this model's tokenizer"
    return f'warning: {name}: {what}; guessing "unknown" is easy, so these figures compare with no other tokenizer\'s'


def _documents(name: str, field: str | None) -> Iterable[tuple[str, bool]]:
    from llmkit.data.sources import open_source

    return ((piece.text, piece.first) for piece in open_source(name, field=field).pieces())


def _row(score: Score) -> str:
    """Tab-separated: file, metric, value."""
    return "".join(f"{score.file}\t{metric}\t{value:.6g}\n" for metric, value in score.metrics.items())


def _shown(score: Score) -> str:
    from llmkit.render.safe_text import safe_line

    if "confusion" in score.details:
        from llmkit.render.confusion import confusion_lines

        return "\n".join(confusion_lines(score.details)) + "\n"
    percent = {"accuracy"}
    figures = [
        f"  {metric.replace('_', ' '):14} {100 * value:.2f}%"
        if metric in percent
        else f"  {metric.replace('_', ' '):14} {value:.4f}"
        for metric, value in score.metrics.items()
    ]
    d = score.details
    how = (
        f"windows of {d['context']} tokens, {d['stride']} apart"
        if "context" in d
        else f"{d['hidden_share']:.0%} of the tokens hidden, seed {d['seed']}"
    )
    head = f"{safe_line(score.file)}: {d['n_scored']:,} of {d['n_tokens']:,} tokens scored; {how}"
    return "\n".join([head, *figures]) + "\n"


def _body(found: list[Score], task: str, model: str) -> dict[str, Any]:
    files = [
        {"file": score.file, **{k: v if math.isfinite(v) else None for k, v in score.metrics.items()}, **_plain(score)}
        for score in found
    ]
    return {"schema": "llmkit/evaluate/1", "model": model, "task": task, "files": files}


def _plain(score: Score) -> dict[str, Any]:
    return {key: value for key, value in score.details.items() if key not in score.metrics and key != "data"}


def _limit(text: str, default: str, sign: int) -> tuple[str, float, int]:
    name, equals, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        flag = "--min" if sign > 0 else "--max"
        raise UsageError(f"{flag} is {text!r}", f"as in {flag} {default}=0.8")
    return (name if equals else default), number, sign


def _check(found: list[Score], limits: list[tuple[str, float, int]]) -> None:
    failed = [
        f"{score.file}: {name} is {score.metrics[name]:.6g}, {'below' if sign > 0 else 'above'} {limit:g}"
        for score in found
        for name, limit, sign in limits
        if not score.metrics[name] * sign >= limit * sign
    ]
    if failed:
        raise CheckFailed("; ".join(failed))
