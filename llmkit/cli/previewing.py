"""`pretrain --preview`: a few examples before and after corruption."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from llmkit.recipe.schema import Recipe

SCHEMA = "llmkit/preview/1"
PreviewCount = Annotated[
    Optional[int],  # noqa: UP045  # Typer evaluates this on Python 3.10
    typer.Option(
        "--preview", help="Show the first N examples before and after corruption, train nothing.", metavar="N", min=1,
        max=1000,
    ),
]  # fmt: skip


def preview(recipe: Recipe, count: int, *, store: Path | None, as_json: bool, quiet: bool) -> None:
    """Print the first `count` examples of the run: coloured lanes, tab-separated rows in a pipe, or JSON."""
    from llmkit.checkpoint.refs import default_store
    from llmkit.cli.output import json_text
    from llmkit.render.console import is_terminal
    from llmkit.render.lines import talk
    from llmkit.render.preview import preview_rows, show_preview
    from llmkit.training.preview import make_preview

    def say(line: str) -> None:
        if not (quiet or as_json):
            talk(line, sys.stderr)

    found = make_preview(recipe, default_store(store), count, say=say)
    if as_json:
        shown = [
            {
                "lanes": {lane.name: [[i, found.pieces(i), mark.value] for i, mark in lane.tokens] for lane in g.lanes},
                "notes": g.notes,
            }
            for g in found.glimpses
        ]
        print(json_text({"schema": SCHEMA, "objective": found.objective, "examples": shown}))
        return
    examples = [
        ([(lane.name, [(found.pieces(i), mark.value) for i, mark in lane.tokens]) for lane in g.lanes], g.notes)
        for g in found.glimpses
    ]
    if is_terminal(sys.stdout):
        show_preview(examples, f"{found.objective}: {found.title}", sys.stdout)
    else:
        sys.stdout.writelines(f"{row}\n" for row in preview_rows(examples))
