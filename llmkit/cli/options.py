"""Option types shared between commands, so that the same flag means the same thing everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

# Typer evaluates these at run time on Python 3.10 too, hence Optional.
Store = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--store", help="Where runs live [default: $LLMKIT_STORE or ./runs].", metavar="DIR"),
]
Model = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--model", "-m", help="NAME, NAME@STEP or a directory [default: newest that fits].", metavar="REF"),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
JsonLines = Annotated[bool, typer.Option("--json", help="JSON lines on stdout, one object each.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Errors only on stderr.")]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", help="Override a recipe key, for example train.steps=500; repeatable.", metavar="KEY=VALUE"),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of every random draw.", metavar="N")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", metavar="DEVICE")]
Size = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--size", help="mini, small, base or parameters (30M): scales the whole recipe.", metavar="SIZE"),
]
