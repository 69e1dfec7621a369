"""What differs between two models, settings and weights: `inspect --diff` and `store diff`. Still no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from llmkit.cli.output import Output


def show_differences(old: Path, new: Path, out: Output, *, command: str) -> int:
    """What differs between two models, for `command`; returns 3 if anything does, else 0."""
    from llmkit.checkpoint.shards import list_tensors
    from llmkit.cli.models import refuse_damaged
    from llmkit.inspection.structure import display_name
    from llmkit.inspection.values import differences

    for path in (old, new):
        refuse_damaged(path)
    found = differences(list_tensors(old), list_tensors(new))
    settings = _settings(old, new)
    rows = [("config", name, f"{_word(a)} -> {_word(b)}") for name, (a, b) in settings.items()]
    rows += [("added", name, "") for name in found.added] + [("removed", name, "") for name in found.removed]
    rows += [("reshaped", n, f"{_times(a)} -> {_times(b)}") for n, (a, b) in found.reshaped.items()]
    rows += [("retyped", n, f"{a} -> {b}") for n, (a, b) in found.retyped.items()]
    rows += [("changed", n, f"{d:.4g}") for n, d in sorted(found.changed.items(), key=lambda item: -item[1])]
    is_equal = found.is_empty and not settings
    if out.as_json:
        names = [display_name(old), display_name(new)]
        out.object(
            {
                "schema": f"llmkit/{command}/1",
                "models": names,
                "is_equal": is_equal,
                "config": settings,
                **asdict(found),
            }
        )
    elif out.is_terminal:
        from llmkit.render.table import Column

        if rows:
            columns = [Column("tensor or setting", style="bold"), Column("what", keep=9), Column("difference", True)]
            out.table(columns, [(name, kind, detail) for kind, name, detail in rows])
    else:
        out.records(rows)
    equal = f"{found.equal} tensor{'s' * (found.equal != 1)} equal"
    out.note(f"{len(rows)} difference{'s' * (len(rows) != 1)}, {equal}" if rows else f"all {equal}")
    return 0 if is_equal else 3


def _settings(old: Path, new: Path) -> dict[str, tuple[object, object]]:
    """What the two configurations do not share."""
    from llmkit.checkpoint.config_json import read_config, read_model_config
    from llmkit.errors import InputRefused
    from llmkit.inspection.settings import config_differences

    stored = read_config(old), read_config(new)
    try:
        known = read_model_config(old), read_model_config(new)
    except InputRefused:  # a family or a setting we do not have: config.json is compared as it stands
        return config_differences(*stored)
    return config_differences(*stored, *known)


def _word(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)[:60]


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
