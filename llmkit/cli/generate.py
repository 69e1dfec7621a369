"""`llmkit generate`: text out of a decoder, streamed on a terminal, plain in a pipe, one object per text as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from llmkit.cli import options
from llmkit.cli.models import GENERATE, load_model
from llmkit.cli.output import json_text
from llmkit.cli.page import Page, Talk, write_raw
from llmkit.errors import InputRefused, UsageError
from llmkit.generation.settings import Sampling

if TYPE_CHECKING:
    from llmkit.api import Loaded
    from llmkit.generation.text import Completion, TextModel

SCHEMA = "llmkit/generate/1"
_SHORT_HELP = """usage: llmkit generate --prompt "Once upon a time"
       llmkit generate --prompt - < beginning.txt
       llmkit generate --jsonl prompts.jsonl > texts.jsonl
more: llmkit generate --help"""


def generate(
    prompt: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--prompt", "-p", help="Text to continue; - reads stdin, as does no --prompt in a pipe.", metavar="TEXT"
        ),
    ] = None,
    model: options.Model = None,
    store: options.Store = None,
    n: Annotated[int, typer.Option("-n", "--n", min=1, max=1_000_000, help="Texts per prompt.", metavar="N")] = 1,
    max_tokens: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help=f"Most tokens per text [default: {Sampling.max_tokens}].", metavar="N"),
    ] = None,
    temperature: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help=f"0 is greedy [default: {Sampling.temperature}].", metavar="X"),
    ] = None,
    top_k: Annotated[Optional[int], typer.Option(help="Keep the K likeliest tokens.", metavar="K")] = None,  # noqa: UP045
    top_p: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help=f"Keep the fewest tokens of this mass; 1 is off [default: {Sampling.top_p}].", metavar="P"),
    ] = None,
    min_p: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Keep tokens at least this likely relative to the likeliest.", metavar="P"),
    ] = None,
    repetition_penalty: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Above 1 makes tokens already there less likely [default: 1].", metavar="X"),
    ] = None,
    stop: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="End before this text; repeatable.", metavar="TEXT"),
    ] = None,
    seed: options.Seed = Sampling.seed,
    echo: Annotated[bool, typer.Option("--echo", help="Print the prompt too.")] = False,
    logprobs: Annotated[
        bool, typer.Option("--logprobs", help="One line per token: natural log of its probability, id, token.")
    ] = False,
    as_json: options.JsonLines = False,
    jsonl: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--jsonl", help="Many prompts: JSON lines in, JSON lines out; - is stdin.", metavar="FILE"),
    ] = None,
    field: Annotated[str, typer.Option(help="Where a JSON line holds its prompt.", metavar="NAME")] = "prompt",
    batch_size: Annotated[int, typer.Option(min=1, help="Texts generated together.", metavar="N")] = 16,
    device: options.Device = "auto",
    dtype: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="float32, bfloat16 or float16 [default: as stored].", metavar="TYPE"),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Text out of a model.

    \b
    llmkit generate --prompt "Once upon a time"
    llmkit generate --model gpt-mini@500 --prompt - --temperature 0 < start.txt
    llmkit generate --jsonl prompts.jsonl --n 4 > texts.jsonl

    Same seed, same text. In a pipe stdout is exactly the generated text. A prompt longer than the model's context
    keeps its end; text that outgrows the context goes on from its newer half (both are said on stderr). What the
    model's generation_config.json asks for, if it does, is the default.
    """
    flags: dict[str, Any] = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    given = {name: value for name, value in flags.items() if value is not None} | {"seed": seed}
    Sampling(**given)
    stops = tuple(stop or ())
    if "" in stops:
        raise UsageError("--stop is empty", "give at least one character, or leave it out")
    if jsonl is not None and prompt is not None:
        raise UsageError("--prompt and --jsonl exclude each other", "put the prompts into the JSON lines")
    if logprobs and n > 1 and not as_json and jsonl is None:
        raise UsageError(f"--logprobs of {n} texts cannot be told apart as lines", "add --json")
    text = None if jsonl is not None else _prompt(prompt)
    _, loaded = load_model(model, store, (GENERATE,), quiet=quiet, device=device, dtype=dtype)
    talk = Talk(quiet=quiet)

    from llmkit.generation.layout import WORTH_IT, lay_out_for_decoding

    settings = _settings(loaded.path, given, talk)
    if jsonl is not None or settings.max_tokens >= WORTH_IT:
        lay_out_for_decoding(loaded.model)
    work = {"n": n, "stop": stops, "with_logprobs": logprobs, "batch_size": batch_size, "notice": talk.note}
    if text is None:
        assert jsonl is not None
        _many(loaded, jsonl, field, settings, work)
    elif as_json:
        for done in _complete(loaded, [text], settings, work):
            _print_json(loaded, text, done, seed, {})
    elif n > 1:
        _several(loaded, text, settings, work, echo=echo, talk=talk)
    elif logprobs:
        _token_lines(loaded, text, settings, stops, talk)
    else:
        _stream(loaded, text, settings, stops, echo=echo, talk=talk)


def _settings(model: Path, given: dict[str, Any], talk: Talk) -> Sampling:
    """The flags given, else what the model's own files ask for, which is said; else our defaults."""
    from llmkit.generation.model_settings import model_settings

    own = {name: value for name, value in model_settings(model).items() if name not in given}
    if own:
        shown = ", ".join(f"{name} {'off' if value is None else value}" for name, value in own.items())
        talk.note(f"as the model's generation_config.json says: {shown}")
    return Sampling(**{**own, **given})


def _prompt(option: str | None) -> str:
    """The prompt as text. Stdin is read only when asked for or when there is no --prompt, so nothing ever hangs."""
    from llmkit.cli.lines import read_stdin_text
    from llmkit.render.console import is_terminal

    if option is None and (sys.stdin is None or is_terminal(sys.stdin)):
        print(_SHORT_HELP, file=sys.stderr)
        raise typer.Exit(2)
    if option is None or option == "-":
        # `echo "Once" | llmkit generate` is meant to go on in the line, as editors and shells add the last newline.
        return read_stdin_text().removesuffix("\n").removesuffix("\r")
    try:
        option.encode("utf-8")
    except UnicodeEncodeError:
        raise InputRefused("--prompt is not valid UTF-8", "pass it through stdin: --prompt -") from None
    return option


def _stream(loaded: Loaded, prompt: str, settings: Sampling, stops: tuple[str, ...], *, echo: bool, talk: Talk) -> None:
    from llmkit.generation.text import stream

    page = Page(echo=echo)
    if page.is_terminal:
        talk.hold()
    found = []
    try:
        page.prompt(prompt)
        for piece, done in stream(_writer(loaded), loaded.tokenizer, prompt, settings, stop=stops, notice=talk.note):
            page.write(piece)
            found += [done] if done else []
    finally:
        page.end(only_open=not found)  # a failure before the first token leaves stdout empty
        talk.release()
    talk.stats(_figures(found, settings.seed))


def _several(loaded: Loaded, prompt: str, settings: Sampling, work: dict[str, Any], *, echo: bool, talk: Talk) -> None:
    page = Page(echo=echo)
    found = []
    for done in _complete(loaded, [prompt], settings, work):
        page.title(f"{done.sample + 1} of {work['n']}")
        page.prompt(prompt)
        page.write(done.text)
        page.end()
        found.append(done)
    talk.stats(_figures(found, settings.seed))


def _token_lines(loaded: Loaded, prompt: str, settings: Sampling, stops: tuple[str, ...], talk: Talk) -> None:
    """One line per token: logprob, id and token as a JSON string in a pipe; a bar for the eye on a terminal."""
    from llmkit.render.console import is_terminal

    show = _token_bar if is_terminal(sys.stdout) else _token_row
    work = {"stop": stops, "with_logprobs": True, "notice": talk.note}
    for done in _complete(loaded, [prompt], settings, work):
        assert done.logprobs is not None, "logprobs were asked for"
        for id, logprob in zip(done.ids, done.logprobs, strict=True):
            write_raw(show(_spelled(loaded, id), id, logprob))
        talk.stats(_figures([done], settings.seed))


def _token_row(token: str, id: int, logprob: float) -> str:
    return f"{logprob:.6f}\t{id}\t{json.dumps(token, ensure_ascii=False)}\n"


def _token_bar(token: str, id: int, logprob: float) -> str:
    from llmkit.render.bars import bar
    from llmkit.render.safe_text import safe_line

    share = math.exp(logprob)
    return f"{share:6.1%} {bar(share, 20):20} {safe_line(token).replace(' ', '·')}\n"


def _many(loaded: Loaded, source: Path, field: str, settings: Sampling, work: dict[str, Any]) -> None:
    """JSON lines in, JSON lines out, order kept; a group of prompts at a time, so memory does not grow."""
    from llmkit.cli.lines import windows
    from llmkit.cli.records import Record, identity, parse_record, text_of
    from llmkit.tokenization.stream import before_refusal

    is_first = True

    def read(numbered: tuple[int, str]) -> tuple[str, Record]:
        nonlocal is_first
        number, line = numbered
        record = parse_record(source, number, line, field)
        text = text_of(source, number, record, field, is_first=is_first)
        is_first = False
        return text, identity(record)

    for group in windows(source, 4 * int(work["batch_size"])):
        asked, refusal = before_refusal(((number, line) for number, line in group if line.strip()), read)
        for done in _complete(loaded, [prompt for prompt, _ in asked], settings, work):
            prompt, extra = asked[done.prompt]
            _print_json(loaded, prompt, done, settings.seed, extra)
        if refusal is not None:
            raise refusal


def _complete(loaded: Loaded, prompts: Sequence[str], settings: Sampling, work: dict[str, Any]) -> Iterator[Completion]:
    from llmkit.generation.text import complete

    return complete(_writer(loaded), loaded.tokenizer, prompts, settings, **work)


def _writer(loaded: Loaded) -> TextModel:
    from llmkit.models.shells import DecoderModel
    from llmkit.models.two_towers import EncoderDecoderModel

    assert isinstance(loaded.model, (DecoderModel, EncoderDecoderModel)), "choose_model lets no others through"
    return loaded.model


def _figures(found: Sequence[Completion], seed: int) -> str:
    count = sum(len(c.ids) for c in found)
    seconds = max((c.seconds for c in found), default=0.0)
    ends = {"eos": "the model ended it", "stop": "a stop string ended it", "length": "--max-tokens ended it"}
    how = f"; {ends[found[0].finish]}" if len(found) == 1 else ""
    speed = f", {count / seconds:.0f} tokens/s" if seconds > 0 else ""
    return f"{count} tokens in {seconds:.2f} s{speed}{how}; seed {seed}"


def _print_json(loaded: Loaded, prompt: str, done: Completion, seed: int, extra: dict[str, object]) -> None:
    body: dict[str, object] = {
        "schema": SCHEMA,
        **extra,
        "prompt": prompt,
        "text": done.text,
        "ids": done.ids,
        "finish": done.finish,
        "seconds": round(done.seconds, 6),
        "tok_per_s": round(done.tok_per_s, 3),
        "seed": seed,
        "sample": done.sample,
        "prompt_tokens": done.n_prompt_tokens,
    }
    if done.logprobs is not None:
        body["tokens"] = [_spelled(loaded, id) for id in done.ids]
        body["logprobs"] = [round(value, 6) for value in done.logprobs]
    write_raw(json_text(body) + "\n")


def _spelled(loaded: Loaded, id: int) -> str:
    """A token for reading: its text, or the vocabulary's spelling when it is only a piece of a character."""
    text = loaded.tokenizer.decode([id])
    if text and "\ufffd" not in text:
        return text
    return str(loaded.tokenizer.backend.id_to_token(id) or text)
