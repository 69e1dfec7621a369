"""The layer tree of `inspect` in all faces."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.cli.output import Output
from llmkit.errors import UsageError
from llmkit.render.safe_text import safe_line

if TYPE_CHECKING:
    from llmkit.inspection.outline import Node
    from llmkit.inspection.structure import Structure
    from llmkit.render.tree import Branch

COLUMNS = ("shape", "params", "share", "bar", "bytes", "dtype", "note")
_AUTO_VERIFY_BYTES = 64 * 2**20  # digests of less are checked without asking: it takes a tenth of a second


def show_tree(path: Path, out: Output, *, depth: int, columns: str, verify: bool) -> None:
    """Layer tree from headers: drawn, one tensor a line, or JSON with both."""
    from llmkit.inspection.structure import read_structure

    wanted = [c.strip() for c in columns.split(",") if c.strip()]
    for column in wanted:
        if column not in COLUMNS:
            from llmkit.suggest import did_you_mean

            raise UsageError(f"--columns has no {column!r}", did_you_mean(column, COLUMNS) or ", ".join(COLUMNS))
    structure = read_structure(path)
    checked = _verified(path, structure.bytes, verify)
    if out.as_json:
        out.object(_as_json(structure, checked))
        return
    if not out.is_terminal and out.svg is None:
        out.records((t.name, t.dtype, "x".join(map(str, t.shape)), t.params, t.bytes) for t in structure.tensors)
        return
    from rich.text import Text

    from llmkit.inspection.outline import outline
    from llmkit.render.tree import fit, tree_lines

    head = headline(structure, checked)
    branches = [_branch(node, structure.params) for node in outline(structure).children]
    if out.svg is not None:
        from llmkit.render.screen_svg import screen_svg

        out.write_svg(
            screen_svg(
                tree_lines(branches, wanted, 110, depth), title=structure.name, subtitle=head.replace("  ", " · ")
            )
        )
        return
    title = Text(fit(f"{safe_line(structure.name)}  {head}", out.width), no_wrap=True)
    title.stylize("bold", 0, len(safe_line(structure.name)))
    out.draw([title, *tree_lines(branches, wanted, out.width, depth)])


def headline(structure: Structure, checked: str | None) -> str:
    """`42.1 M params  84.2 MB bfloat16  16 layers  2 files  verified ✓`"""
    from llmkit.units import count, size

    facts, files = structure.facts, structure.files
    active = f" ({count(structure.active_params)} active)" if structure.active_params < structure.params else ""
    layers = f"{facts.layers}+{facts.decoder_layers}" if facts.decoder_layers else str(facts.layers)
    words = [
        facts.title or facts.architecture,
        f"{count(structure.params)} params" + active,
        f"{size(structure.bytes)} {'+'.join(structure.dtypes[:3])}",
        f"{layers} layer{'s' * (layers != '1')}" if facts.layers else "",
        f"{files} file{'s' * (files != 1)}",
        {"digests": "verified ✓", "sizes": "sizes match (--verify reads all)", None: ""}[checked],
    ]
    return "  ".join(w for w in words if w)


def _verified(path: Path, size: int, asked: bool) -> str | None:
    from llmkit.checkpoint import manifest

    if not asked and not (path / manifest.NAME).is_file():
        return None
    content = asked or size <= _AUTO_VERIFY_BYTES
    manifest.verify(path, content=content)
    return "digests" if content else "sizes"


def _branch(node: Node, total: int, *, is_copy: bool = False) -> Branch:
    from llmkit.render.tree import Branch
    from llmkit.units import count, percent, size

    # Inside folded layers the counts are of one copy; a share of the whole would not add up there.
    share = node.params / total if total and not is_copy else 0.0
    is_empty = not node.bytes
    cells = {
        "times": f" ×{node.count}" if node.count > 1 else "",
        "shape": node.shape,
        "params": "0" if is_empty else count(node.params),
        "share": percent(share) if share else "",
        "bytes": "" if is_empty else size(node.bytes),
        "dtype": node.dtype,
        "note": node.note,
    }
    children = tuple(_branch(child, total, is_copy=is_copy or node.count > 1) for child in node.children)
    return Branch(node.name, cells, share, is_empty, children, frame=node.is_frame)


def _as_json(structure: Structure, checked: str | None) -> dict[str, Any]:
    from llmkit.inspection.outline import outline

    facts = asdict(structure.facts)
    facts.pop("has_token_head")
    return {
        "schema": "llmkit/inspect/1",
        "name": structure.name,
        **facts,
        "params": structure.params,
        "active_params": structure.active_params,
        "bytes": structure.bytes,
        "dtypes": list(structure.dtypes),
        "files": structure.files,
        "verified": checked,
        "head_tied_to": structure.head_tied_to,
        "tensors": [asdict(t) for t in structure.tensors],
        "tree": [_node_json(node) for node in outline(structure).children],
    }


def _node_json(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "count": node.count,
        "params": node.params,
        "bytes": node.bytes,
        "dtype": node.dtype,
        "shape": node.shape,
        "note": node.note,
        "children": [_node_json(child) for child in node.children],
    }
