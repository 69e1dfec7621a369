"""Help texts as people read them: `RECIPE` and `[FILE]...` rather than Python types, and no line cut short."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class PlainCommand(TyperCommand):
    """A command whose help names arguments by their metavar only."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(_argument(p) for p in self.get_params(ctx) if p.param_type_name == "argument")]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        records = [(p, p.get_help_record(ctx)) for p in self.get_params(ctx)]
        arguments = [(_name(p), r[1]) for p, r in records if r and p.param_type_name == "argument"]
        options = [r for p, r in records if r and p.param_type_name != "argument"]
        for title, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class PlainGroup(TyperGroup):
    """A group that lists its commands with their whole first sentence."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        refuse_unknown(ctx, args, self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(200)) for name, command in found if command])


def refuse_unknown(ctx: Any, args: list[str], commands: list[str]) -> None:
    """Raise the usage error for a word that is none of `commands`, with those it may have been."""
    if args and not args[0].startswith("-") and args[0] not in commands:
        from llmkit.suggest import did_you_mean

        near = did_you_mean(args[0], commands) or f"see {ctx.command_path} --help"
        ctx.fail(f"no command {args[0]!r}; {near}")


def command_group(help: str) -> typer.Typer:
    """An empty group for a module of `llmkit.cli` that holds several commands."""
    return typer.Typer(
        cls=PlainGroup,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        help=help,
    )


def _name(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _argument(parameter: Any) -> str:
    name = _name(parameter)
    return (name if parameter.required else f"[{name}]") + ("..." if parameter.nargs == -1 else "")
