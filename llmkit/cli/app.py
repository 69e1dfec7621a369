"""The `llmkit` program: a lazily imported command per module, and errors as one clear line with the right exit code."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from llmkit import __version__
from llmkit.cli.help import PlainCommand, refuse_unknown
from llmkit.errors import LlmkitError
from llmkit.suggest import did_you_mean

# name -> one line of help. The module is llmkit/cli/<name>.py; it holds `app` (a group) or a function of that name.
MAIN = {
    "tokenize": "Text to tokens and back, streaming.",
    "train-bpe": "Learn a tokenizer from text.",
    "pretrain": "Train a model from random weights.",
    "finetune": "Adapt a checkpoint to a task.",
    "generate": "Text out of a model.",
    "inspect": "Look inside a model: layers, counts, attention.",
    "bench": "Measure speed beside this machine's limits.",
}
MORE = {
    "predict": "Encoders in a pipe: fill-mask, classify.",
    "evaluate": "Score a checkpoint on a file.",
    "store": "List, show, verify and prune checkpoints.",
    "recipe": "List, show, validate recipes; their schema.",
    "completion": "Shell completion for bash, zsh and fish.",
}
# Options whose value is text; every other value names something, and nothing has an empty name.
MAY_BE_EMPTY = {"--prompt", "-p", "--text", "--stop", "--set"}


def load_command(name: str) -> Any:
    """Import the module of one command and return its click command."""
    stem = name.replace("-", "_")
    module = importlib.import_module(f"llmkit.cli.{stem}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(name, cls=PlainCommand, no_args_is_help=False)(getattr(module, stem))
    command = typer.main.get_command(app)
    command.name = name
    return command


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are used, so that `--help` costs no more than Typer itself."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*MAIN, *MORE]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load_command(cmd_name) if cmd_name in MAIN or cmd_name in MORE else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for title, commands in (("Commands", MAIN), ("More", MORE)):
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        refuse_unknown(ctx, args, [*MAIN, *MORE])
        return super().resolve_command(ctx, args)


def _version(value: bool) -> None:
    if value:
        print(f"llmkit {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.callback()
def root(
    color: str = typer.Option("auto", help="Colour on terminals: auto, always or never.", metavar="WHEN"),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks (also LLMKIT_DEBUG=1)."),
    trust_tokenizer: bool = typer.Option(
        False, "--trust-tokenizer", help="Allow unknown regular expressions in tokenizers; they may hang."
    ),
    version: bool = typer.Option(False, "--version", "-V", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Tokenizers and transformer models, from raw text to a trained, inspected, measured model.

    \b
    llmkit pretrain bert-mini                train a small BERT on built-in text
    llmkit generate --prompt "Once"          text from the newest model in ./runs
    cat notes.txt | llmkit tokenize --count  tokens in a pipe
    """
    from llmkit.errors import UsageError
    from llmkit.render.console import set_color

    if color not in ("auto", "always", "never"):
        raise UsageError(f"--color is {color!r}", "use auto, always or never")
    set_color(color)  # type: ignore[arg-type]  # checked on the line above
    if debug:
        os.environ["LLMKIT_DEBUG"] = "1"
    if trust_tokenizer:
        os.environ["LLMKIT_TRUST_TOKENIZER"] = "1"  # read where tokenizers are, in every command and from Python


def run(args: list[str]) -> int:
    """Run one command line and return its exit code; nothing escapes but SystemExit from nowhere."""
    # A filter whose reader has gone dies silently, as shells expect; training commands change this for themselves.
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _stand_in_for_closed_streams()
    with _interrupts() as came:
        try:
            _refuse_empty(args)
            command = typer.main.get_command(app)
            if args[:1] == ["help"]:
                args = [*args[1:], "--help"]
            code = command.main(
                args=args, prog_name="llmkit", standalone_mode=False, help_option_names=["-h", "--help"]
            )
            sys.stdout.flush()  # so that a full disk is reported here and not swallowed at interpreter exit
            return code if isinstance(code, int) else 0
        except KeyboardInterrupt:
            return 130
        except BaseException as error:
            return 130 if came else report(error, as_json="--json" in args or "--jsonl" in args)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Note each SIGINT beside raising KeyboardInterrupt: a library that is being imported makes other errors of it."""
    came: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield came  # nohup, or a background job of a shell: stay deaf
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


def _refuse_empty(args: list[str]) -> None:
    """An argument without a character is an unset shell variable: as a path it would mean the current directory."""
    for before, arg in zip(["llmkit", *args], args, strict=False):
        option, equals, value = arg.partition("=")
        if arg and not (option.startswith("--") and equals and not value):
            continue
        name = option or before
        if name not in MAY_BE_EMPTY:
            from llmkit.errors import UsageError

            raise UsageError(
                f"the argument after {name[:80]} is empty", "is a variable unset? leave it out, or fill it"
            )


def _stand_in_for_closed_streams() -> None:
    """Open what the caller closed (`>&-`), or the next file opened would be taken for it.

    A closed stdout stays impossible to write to, so that lost output is an error and not a silence.
    """
    for descriptor, name, flags in ((0, "", os.O_RDONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free, which is this one
            if name and getattr(sys, name) is None:
                setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def report(error: BaseException, *, as_json: bool = False) -> int:
    """Print `error` as one clear line on stderr and return the exit code that belongs to it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if os.environ.get("LLMKIT_DEBUG"):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, LlmkitError) and error.is_told:
        return error.exit_code
    if isinstance(error, LlmkitError):
        kind, code, message, hint = error.kind, error.exit_code, error.message, error.hint
    elif isinstance(error, typer.Abort):
        return 130
    elif type(error).__name__ == "NoArgsIsHelpError":
        print(error, file=sys.stderr)
        return 2
    elif hasattr(error, "format_message"):  # Typer's own usage errors, whichever click they come from
        kind, code, message, hint = "usage", 2, _usage_message(error), _usage_hint(error)
    elif isinstance(error, MemoryError):
        kind, code, message, hint = "memory", 6, "out of memory", "use a smaller batch, model or input"
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        kind, code, message, hint = "io", 74, f"{where}{error.strerror or error}", None
        if error.errno == errno.EBADF and not where:
            message, hint = "stdout is closed; there is nowhere to write", "send it to a file or to /dev/null"
        _drop_unwritten()
    elif type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        kind, code, message, hint = "memory", 6, "the device is out of memory", "use a smaller batch or model"
    else:
        kind, code = "bug", 70
        message, hint = f"unexpected {type(error).__name__}: {error}", "this is a bug in llmkit; --debug shows where"
    _print_error(kind, code, message, hint, as_json, getattr(error, "details", {}))
    return code


def _print_error(
    kind: str, code: int, message: str, hint: str | None, as_json: bool, details: dict[str, object]
) -> None:
    from llmkit.render.safe_text import safe_text

    if as_json:
        body = {"error": {"code": kind, "exit": code, "message": message, "fix": hint, **details}}
        lines = json.dumps(body, ensure_ascii=True)
    else:
        lines = "error: " + safe_text(message) + (f"\n  fix: {safe_text(hint)}" if hint else "")
    with contextlib.suppress(OSError):  # stderr itself may be gone; the exit code still says what happened
        print(lines, file=sys.stderr, flush=True)


def _usage_message(error: Any) -> str:
    """Typer's words in our style: lower case, no full stop, and a guess only where one is near."""
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if option is not None and hasattr(error, "possibilities") and context is not None:
        there = [name for param in context.command.params for name in param.opts if name.startswith("--")]
        guess = did_you_mean(option, [*there, "--help"])
        return f"no option {option!r}" + (f"; {guess}" if guess else "")
    text = str(error.format_message())
    return text[:1].lower() + text[1:].removesuffix(".")


def _usage_hint(error: BaseException) -> str | None:
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    unknown = getattr(error, "option_name", None)
    if unknown in {name for param in context.find_root().command.params for name in param.opts}:
        return f"{unknown} goes before the command: llmkit {unknown} {context.command_path.partition(' ')[2]} ..."
    return f"see {context.command_path} --help"


def _drop_unwritten() -> None:
    """Point stdout at nothing, or the interpreter would fail again on the same unwritten bytes at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
