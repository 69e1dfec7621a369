"""The command tree as plain data: what can be typed where, read off the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args, get_origin

# What the words after an option or in an argument's place are, by its metavar. Kinds that `llmkit __complete` lists are
# the first five; files and dirs are the shell's own business.
KINDS = {
    "RECIPE": "recipes",
    "REF": "checkpoints",
    "REF2": "checkpoints",
    "KEY=VALUE": "recipe-keys",
    "KEY=VALUE,...": "recipe-keys",
    "KEY": "recipe-key-names",
    "FILE": "files",
    "PATH": "files",
    "DIR": "dirs",
}
# "Brightness: sqrt, linear or log." lists what may be given; commands write their help that way.
_LISTED = re.compile(r"(?:^|: )((?:[a-z0-9-]+, )*[a-z0-9-]+) or ([a-z0-9-]+)(?= \[|\.|$)")
_SEVERAL = re.compile(r": ((?:[a-z]+,)+[a-z]+)\.")  # "Of the tree: shape,params,share." takes any of them, with commas


@dataclass(frozen=True)
class Value:
    """What follows an option or stands as an argument: fixed words, or a kind of word that must be looked up.

    joins: several of the words may be given, with commas between.
    """

    metavar: str
    words: tuple[str, ...] = ()
    kind: str = ""
    joins: bool = False


@dataclass(frozen=True)
class Option:
    """An option: all its names, and its value unless it is a flag."""

    names: tuple[str, ...]
    help: str
    value: Value | None = None
    repeats: bool = False


@dataclass(frozen=True)
class Argument:
    """A word without a name; `repeats` when there may be several."""

    value: Value
    repeats: bool


@dataclass(frozen=True)
class Command:
    """A command by its path, () being the program, with what it takes."""

    path: tuple[str, ...]
    help: str
    options: tuple[Option, ...] = ()
    arguments: tuple[Argument, ...] = ()
    children: tuple[Command, ...] = ()

    @property
    def name(self) -> str:
        """The last word of the path."""
        return self.path[-1] if self.path else "llmkit"

    def walk(self) -> Iterator[Command]:
        """This command and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


def program() -> Command:
    """The whole tree. A command whose module is not there yet has its name and help only."""
    import typer

    from llmkit.cli import app as program_module

    root = _command((), typer.main.get_command(program_module.app), "")
    children = []
    for name, text in {**program_module.MAIN, **program_module.MORE}.items():
        try:
            children.append(_command((name,), program_module.load_command(name), text))
        except ModuleNotFoundError as error:
            if error.name != f"llmkit.cli.{name.replace('-', '_')}":
                raise
            children.append(Command((name,), text))
    return Command((), root.help, root.options, children=tuple(children))


def _command(path: tuple[str, ...], command: Any, text: str) -> Command:
    options = [Option(("-h", "--help"), "Show this message and exit.")]
    arguments = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False):
            continue
        is_many = parameter.nargs == -1 or parameter.multiple
        if not parameter.opts[0].startswith("-"):
            arguments.append(Argument(_value(parameter), is_many))
            continue
        is_flag = parameter.is_flag or parameter.count
        names = (*parameter.opts, *parameter.secondary_opts)
        options.append(Option(names, _one_line(parameter.help), None if is_flag else _value(parameter), is_many))
    children = [
        _command((*path, name), child, _one_line(child.get_short_help_str(limit=200)))
        for name, child in getattr(command, "commands", {}).items()
        if not child.hidden
    ]
    return Command(path, text or _one_line(command.help), tuple(options), tuple(arguments), tuple(children))


def _value(parameter: Any) -> Value:
    metavar = (parameter.metavar or parameter.name).strip("[].").removesuffix("|-").strip("[].")
    words = _choices(parameter)
    if not words and re.fullmatch(r"[a-z0-9-]+(\|[a-z0-9-]+)+", metavar):
        words = tuple(metavar.split("|"))
    listed = _LISTED.search(re.sub(r" \([^)]*\)", "", _one_line(getattr(parameter, "help", ""))))
    if not words and listed and metavar.upper() not in KINDS:
        words = (*listed.group(1).split(", "), listed.group(2))
    several = None if words else _SEVERAL.search(_one_line(getattr(parameter, "help", "")))
    if several:
        return Value("WORDS", tuple(several.group(1).split(",")), joins=True)
    kind = "tokenizers" if parameter.name == "tokenizer" else KINDS.get(metavar, "")
    return Value(metavar.upper() if not words else "WORD", words, "" if words else kind)


def _choices(parameter: Any) -> tuple[str, ...]:
    """Words of an Enum or Literal; older versions of Typer keep them in `type`, newer in `type_descriptor`."""
    known = getattr(getattr(parameter, "type", None), "choices", None)
    if known:
        return tuple(str(getattr(c, "value", c)) for c in known)
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return tuple(str(member.value) for member in annotation)
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()


def _one_line(text: str | None) -> str:
    """The first sentence or paragraph of a help text, on one line."""
    paragraph = (text or "").replace("\b", "").strip().split("\n\n")[0]
    return " ".join(paragraph.split())
