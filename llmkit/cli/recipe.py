"""llmkit recipe: list, show and validate recipes, and describe their keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Optional

import typer

from llmkit.cli.help import PlainCommand, command_group
from llmkit.cli.options import Json, Set, Size

app = command_group(
    """List, show and validate recipes; describe their keys.

    \b
    llmkit recipe ls                          what comes with llmkit
    llmkit recipe show bert-mini > my.yaml    a copy to edit
    llmkit recipe schema train                the keys of a section
    """
)

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="A built-in name or a YAML file.")]


@app.command(cls=PlainCommand)
def ls(as_json: Json = False) -> None:
    """List the built-in recipes.

    \b
    llmkit recipe ls
    llmkit recipe ls --json | jq -r '.recipes[].name'
    """
    from llmkit.recipe.listing import listings
    from llmkit.units import count

    found = listings()
    if as_json:
        _print_json({"schema": "llmkit/recipe-ls/1", "recipes": [vars(entry) for entry in found]})
        return
    rows = [
        (e.name, e.family or "any", e.objective, f"~{count(e.parameters)}" if e.parameters else "as base", e.about)
        for e in found
    ]
    _print_table(("name", "family", "objective", "size", "what it is"), rows)


@app.command(cls=PlainCommand)
def show(
    recipe: Recipe,
    overrides: Set = None,
    size: Size = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Every value in effect, defaults included.")] = False,
    origin: Annotated[bool, typer.Option("--origin", help="Like --resolved, and where each value comes from.")] = False,
    as_json: Json = False,
) -> None:
    """Print a recipe: its commented source, or with --set, --size, --resolved or --origin every value in effect.

    \b
    llmkit recipe show bert-mini > my.yaml              a copy to edit
    llmkit recipe show my.yaml --origin                 what will be used, and why
    llmkit recipe show bert-mini --set train.lr=3e-4    every value in effect
    llmkit recipe show bert-mini --size 30M --origin    what one dial sets
    """
    from llmkit.recipe.load import load_recipe, read_source
    from llmkit.recipe.resolved import flatten, to_yaml

    if not (resolved or origin or overrides or size or as_json):
        _print_text(read_source(recipe))
        return
    loaded = load_recipe(recipe, overrides or [], size=size)
    if not as_json:
        _print_text(to_yaml(loaded, with_origins=origin))
        return
    nested: dict[str, Any] = {}
    for path, value in flatten(loaded).items():
        section, _, leaf = path.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[leaf] = value
    _print_json({"schema": "llmkit/recipe-show/1", "recipe": nested, "origins": dict(loaded.origins)})


@app.command(cls=PlainCommand)
def validate(
    recipes: Annotated[list[str], typer.Argument(metavar="RECIPE", help="Built-in names or YAML files.")],
    overrides: Set = None,
    as_json: Json = False,
) -> None:
    """Check recipes without running them; exit code 2 when one is wrong.

    \b
    llmkit recipe validate my.yaml
    llmkit recipe validate recipes/*.yaml --set train.steps=10
    """
    from llmkit.errors import UsageError
    from llmkit.recipe.load import load_recipe
    from llmkit.recipe.problems import together

    failures: dict[str, UsageError] = {}
    results: list[dict[str, object]] = []
    for name in recipes:
        try:
            load_recipe(name, overrides or [])
        except UsageError as error:
            failures[name] = error
            details = getattr(error, "details", {})
            results.append({"recipe": name, "ok": False, "error": error.message, "fix": error.hint, **details})
        else:
            results.append({"recipe": name, "ok": True})
    if as_json:
        _print_json({"schema": "llmkit/recipe-validate/1", "recipes": results})
        raise typer.Exit(2 if failures else 0)
    for name in recipes:
        _print_text(f"{name}\t{'wrong' if name in failures else 'ok'}\n")
    if failures:
        raise together(list(failures.values()))


@app.command(cls=PlainCommand)
def schema(
    section: Annotated[
        Optional[str],  # noqa: UP045  Typer reads it at run time on Python 3.10 too
        typer.Argument(metavar="SECTION", help="model, tokenizer, data, objective or train."),
    ] = None,
    family: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--family", help="Of the section model: only the keys of this family.", metavar="NAME"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Describe the keys: a JSON Schema for editors, or a table of one section.

    \b
    llmkit recipe schema train                   the keys of a section
    llmkit recipe schema model --family llama    those that a LLaMA has
    llmkit recipe schema > recipe.schema.json    for an editor
    """
    from llmkit.errors import UsageError
    from llmkit.recipe.editor_schema import json_schema, section_schema
    from llmkit.recipe.schema import SECTIONS
    from llmkit.suggest import did_you_mean

    if section is None:  # a file that people open too
        sys.stdout.write(json.dumps(json_schema(), indent=2, allow_nan=False) + "\n")
    elif section not in SECTIONS:
        hint = did_you_mean(section, SECTIONS) or f"the sections are {', '.join(SECTIONS)}"
        raise UsageError(f"no recipe section {section!r}", hint)
    elif as_json:
        _print_json(section_schema(section))
    else:
        _print_table(
            ("key", "type", "default", "allowed", "what it is"), _key_rows(section, family), on_terminal=_brief
        )


def _key_rows(section: str, family: str | None) -> list[tuple[str, ...]]:
    """A row per key; those of `model` that not every family has name the families that do."""
    from llmkit.models.registry import family_names, load_family
    from llmkit.recipe.keys import Spec, section_specs
    from llmkit.recipe.resolved import yaml_value

    homes: Mapping[str | None, dict[str, Spec]]
    if section != "model":
        homes = {None: section_specs(section)}
    else:
        names = [load_family(family).name] if family else family_names()
        homes = {name: section_specs(section, name) for name in names}
    merged: dict[str, list[tuple[str | None, Spec]]] = {}
    for name, specs in homes.items():
        for leaf, spec in specs.items():
            merged.setdefault(leaf, []).append((name, spec))
    rows: list[tuple[str, ...]] = []
    for leaf, found in merged.items():
        spec = found[0][1]
        defaults = dict.fromkeys("(required)" if s.is_required else yaml_value(s.default) for _, s in found)
        only = "" if len(found) == len(homes) else " (" + ", ".join(str(name) for name, _ in found) + ")"
        limits = spec.limits() if len(spec.key.choices) <= 8 else f"{len(spec.key.choices)} names, see --json"
        rows.append((leaf, spec.type_words(), " or ".join(defaults), limits, spec.key.help + only))
    return rows


def _brief(row: tuple[str, ...]) -> tuple[str, ...]:
    """A row of the key table that fits a terminal: key, default, and the rest in one column."""
    name, kind, default, allowed, words = row
    return name, default, words if kind == "type" else f"{words} [{allowed or kind}]"


def _print_table(
    titles: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    *,
    on_terminal: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda row: row,
) -> None:
    """Aligned columns on a terminal, the last one folded to fit; tab-separated values in a pipe."""
    from llmkit.cli.output import Output
    from llmkit.render.console import is_terminal, make_console, width
    from llmkit.render.safe_text import safe_line

    if not is_terminal(sys.stdout):
        Output().records(rows)
        return
    from rich.table import Table
    from rich.text import Text

    titles, rows = on_terminal(titles), [on_terminal(row) for row in rows]
    kept = list(range(len(titles))) if width(sys.stdout) >= 72 else [0, len(titles) - 1]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for i in kept:
        table.add_column(titles[i], no_wrap=i == 0, overflow="fold")
    for row in rows:
        table.add_row(*(Text(safe_line(row[i])) for i in kept))
    make_console(sys.stdout).print(table)


def _print_text(text: str) -> None:
    from llmkit.render.console import is_terminal
    from llmkit.render.safe_text import safe_text

    sys.stdout.write(safe_text(text) if is_terminal(sys.stdout) else text)


def _print_json(body: dict[str, Any]) -> None:
    from llmkit.cli.output import Output

    Output(as_json=True).object(body)
