"""`inspect --config`: a model's settings beside its family's defaults, and the paper. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.cli.output import Output

if TYPE_CHECKING:
    from llmkit.inspection.settings import Setting
    from llmkit.models.config import ModelConfig
    from llmkit.models.family import Family
    from llmkit.render.table import Column


def family_named(ref: str | None, store: Path) -> Family | None:
    """The family that `ref` names, if it names one and nothing of that name is here or in the store."""
    from llmkit.models.registry import family_names, load_family

    if ref is None or ref.replace("-", "_") not in family_names() or Path(ref).exists() or (store / ref).exists():
        return None
    return load_family(ref)


def show_model_config(path: Path, out: Output) -> None:
    """The settings of the model in `path`. Raises InputRefused for a configuration llmkit does not support."""
    from llmkit.checkpoint.config_json import read_model_config
    from llmkit.inspection.structure import display_name

    family, config = read_model_config(path)
    show_config(family, config, display_name(path), out)


def show_config(family: Family, config: ModelConfig | None, name: str, out: Output) -> None:
    """Settings as a table, as records, or as JSON; `config` None shows the defaults alone."""
    from llmkit.inspection.settings import settings_of

    found = settings_of(family, config)
    if out.as_json:
        out.object(
            {
                "schema": "llmkit/inspect-config/1",
                "name": name,
                "family": family.name,
                "title": family.title,
                "paper": family.paper,
                "peculiar": family.peculiar,
                "kind": family.kind.value,
                "heads": dict(family.heads),
                "settings": [
                    {"name": s.name, "value": _plain(s.value), "default": _plain(s.default), "key": s.key or None}
                    for s in found
                ],
                "supported_with_one_value": [f.theirs for f in family.refused],
            }
        )
    elif out.is_terminal:
        _draw(family, found, name, out, is_model=config is not None)
    else:
        out.records((s.name, _word(s.value), _word(s.default), s.key) for s in found)


def _draw(family: Family, found: list[Setting], name: str, out: Output, *, is_model: bool) -> None:
    from rich.text import Text

    from llmkit.render.table import Column

    head = {"family": f"{family.title}, {family.kind.value}", "paper": family.paper, "peculiar": family.peculiar}
    if is_model:
        head = {"model": name} | head
    out.facts(head)
    out.draw([Text("")])
    columns = [Column("setting"), Column("value", keep=9)] if is_model else [Column("setting")]
    columns += [Column("default", keep=8, style="dim"), Column("config.json", keep=3, style="dim")]
    columns += [Column("what it is", keep=1, style="dim")]
    rows: list[Any] = []
    for s in found:
        value = Text(_word(s.value), style="" if s.is_default else "bold")
        cells = [Text(s.name, style="" if s.is_default else "bold"), *([value] if is_model else [])]
        rows.append((*cells, _word(s.default), s.key, s.help))
    columns, rows = _fitted(columns, rows, out.width)
    out.table(columns, rows)
    out.note(f"refused unless harmless: {', '.join(f.theirs for f in family.refused)}")


def _fitted(columns: list[Column], rows: list[Any], width: int) -> tuple[list[Column], list[Any]]:
    """The last column cut to the room that the others leave; below some width, it says nothing and goes."""
    from llmkit.render.tree import fit

    wide = [
        max(len(str(cell)) for cell in (column.title, *cells))
        for column, cells in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    room = width - sum(w + 2 for w in wide[:-1])
    if room < 24:
        return columns[:-1], [row[:-1] for row in rows]
    return columns, [(*row[:-1], fit(str(row[-1]), room)) for row in rows]


def _word(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value[:4])) + (f", ... ({len(value)})" if len(value) > 4 else "") if value else "none"
    return str(value)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return dict(value) if isinstance(value, dict) else value
