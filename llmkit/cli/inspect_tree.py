"""The faces of `inspect` that need no model: tree, statistics, differences, neighbours."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.render.console import is_terminal, make_console, palette, wants_color, width
from llmkit.render.safe_text import safe_line

if TYPE_CHECKING:
    from rich.text import Text

    from llmkit.inspection.outline import Node
    from llmkit.inspection.structure import Structure
    from llmkit.render.palette import Palette
    from llmkit.render.tree import Branch

COLUMNS = ("shape", "params", "share", "bar", "bytes", "dtype", "note")
_AUTO_VERIFY_BYTES = 64 * 2**20  # digests of less are checked without asking: it takes a tenth of a second


@dataclass(frozen=True)
class Output:
    """Where and how results go: a terminal drawing, records in a pipe, one JSON object, a picture."""

    as_json: bool = False
    quiet: bool = False
    svg: Path | None = None

    @property
    def is_terminal(self) -> bool:
        return not self.as_json and is_terminal(sys.stdout)

    @property
    def palette(self) -> Palette:
        return palette() if wants_color(sys.stdout) else "none"

    @property
    def width(self) -> int:
        return max(20, width(sys.stdout))

    def draw(self, lines: Iterable[Text]) -> None:
        """Print drawn lines on the terminal."""
        console = make_console(sys.stdout)
        for line in lines:
            console.print(line, soft_wrap=True)

    def records(self, rows: Iterable[Sequence[object]]) -> None:
        """Print tab-separated records, one a line."""
        for row in rows:
            print("\t".join(map(str, row)))

    def object(self, body: dict[str, Any]) -> None:
        """Print one JSON object; numbers that are not finite become null, and `nonfinite` says so."""
        clean = _finite(body)
        if clean != body or body != body:
            clean["nonfinite"] = True
        print(json.dumps(clean, ensure_ascii=False, allow_nan=False))

    def note(self, message: str) -> None:
        """Say something on stderr, unless --quiet."""
        if not self.quiet:
            print(safe_line(message), file=sys.stderr)

    def write_svg(self, picture: str) -> None:
        """Write the picture that --svg asked for."""
        assert self.svg is not None
        write_text(self.svg, picture)
        self.note(f"wrote {self.svg}")


def write_text(path: Path, content: str) -> None:
    """Write a file or `-`; StorageError with the path if that fails."""
    if str(path) == "-":
        sys.stdout.write(content)
        return
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def find_model(ref: str | None, store: Path, quiet: bool) -> Path:
    """The model directory that `ref` names; without one, the newest in the store, said on stderr."""
    from llmkit.checkpoint.refs import newest, reference, resolve
    from llmkit.cli.models import say

    if ref is not None:
        path = resolve(ref, store)
        if not (path / "config.json").is_file():
            raise InputRefused(f"{path} has no config.json; it is not a model", "give a model's directory")
        return path
    found = newest(store, lambda path, config: True)
    if found is None:
        raise UsageError(f"no model in {store}", "train one: llmkit pretrain bert-mini, or name a model directory")
    if not quiet:
        say(f"model: {reference(found, store)}")
    return found


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
    from llmkit.render.units import count, size

    facts, files = structure.facts, structure.files
    words = [
        facts.title or facts.architecture,
        f"{count(structure.params)} params",
        f"{size(structure.bytes)} {'+'.join(structure.dtypes[:3])}",
        f"{facts.layers} layer{'s' * (facts.layers != 1)}" if facts.layers else "",
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
    from llmkit.render.units import count, percent, size

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
    return Branch(node.name, cells, share, is_empty, children)


def _as_json(structure: Structure, checked: str | None) -> dict[str, Any]:
    from llmkit.inspection.outline import outline

    facts = asdict(structure.facts)
    facts.pop("has_token_head")
    return {
        "schema": "llmkit/inspect/1",
        "name": structure.name,
        **facts,
        "params": structure.params,
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


def show_stats(path: Path, out: Output) -> None:
    """Statistics of every tensor, as they are read; tensors with NaN or infinities named again on stderr."""
    from llmkit.checkpoint.shards import list_tensors
    from llmkit.inspection.structure import DTYPES, display_name
    from llmkit.inspection.values import stats

    tensors = list_tensors(path)
    found = {}
    for name, tensor in tensors.items():
        found[name] = s = stats(tensor, name)
        if not (out.is_terminal or out.as_json):
            head = (name, DTYPES.get(tensor.dtype, tensor.dtype), "x".join(map(str, tensor.shape)))
            out.records([(*head, *(f"{v:.6g}" for v in (s.mean, s.std, s.min, s.max)), s.nan, s.infinite)])
    if out.as_json:
        rows = [{"name": name, "shape": list(tensors[name].shape), **asdict(s)} for name, s in found.items()]
        out.object({"schema": "llmkit/inspect-stats/1", "name": display_name(path), "tensors": rows})
    elif out.is_terminal:
        from llmkit.render.table import Column, table_lines

        columns = [Column("tensor", style="bold"), Column("shape", keep=3, style="dim")]
        columns += [Column(c, True, keep) for c, keep in (("mean", 4), ("std", 8), ("min", 6), ("max", 7))]
        columns += [Column("NaN", True, 9, "red"), Column("inf", True, 9, "red")]
        lines = [
            (name, "×".join(map(str, tensors[name].shape)), *(_short(v) for v in (s.mean, s.std, s.min, s.max)),
             str(s.nan or ""), str(s.infinite or ""))
            for name, s in found.items()
        ]  # fmt: skip
        out.draw(table_lines(columns, lines, out.width))
    bad = [name for name, s in found.items() if not s.is_finite]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        out.note(f"warning: {len(bad)} tensors hold NaN or infinities: {', '.join(bad[:3])}{more}")


def show_differences(old: Path, new: Path, out: Output) -> int:
    """What differs between two models; returns 3 if anything does, else 0."""
    from llmkit.checkpoint.shards import list_tensors
    from llmkit.inspection.structure import display_name
    from llmkit.inspection.values import differences

    found = differences(list_tensors(old), list_tensors(new))
    rows = [("added", name, "") for name in found.added] + [("removed", name, "") for name in found.removed]
    rows += [("reshaped", n, f"{_times(a)} -> {_times(b)}") for n, (a, b) in found.reshaped.items()]
    rows += [("retyped", n, f"{a} -> {b}") for n, (a, b) in found.retyped.items()]
    rows += [("changed", n, f"{d:.4g}") for n, d in sorted(found.changed.items(), key=lambda item: -item[1])]
    if out.as_json:
        names = [display_name(old), display_name(new)]
        out.object({"schema": "llmkit/inspect-diff/1", "models": names, "is_equal": found.is_empty, **asdict(found)})
    elif out.is_terminal:
        from llmkit.render.table import Column, table_lines

        if rows:
            columns = [Column("tensor", style="bold"), Column("what", keep=9), Column("largest difference", True)]
            out.draw(table_lines(columns, [(name, kind, detail) for kind, name, detail in rows], out.width))
    else:
        out.records(rows)
    out.note(f"{len(rows)} differences, {found.equal} tensors equal" if rows else f"all {found.equal} tensors equal")
    return 0 if found.is_empty else 3


def show_neighbours(path: Path, word: str, count: int, out: Output) -> None:
    """Tokens whose input embeddings point where that of `word` points."""
    from llmkit.checkpoint.shards import list_tensors
    from llmkit.inspection.structure import EMBEDDINGS
    from llmkit.inspection.tokens import token_name
    from llmkit.inspection.values import neighbours
    from llmkit.tokenization.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    name, table = next(
        ((n, t) for n, t in list_tensors(path).items() if n.endswith(EMBEDDINGS) and len(t.shape) == 2), (None, None)
    )
    if name is None or table is None:
        raise InputRefused(f"{path} holds no tensor that looks like a token embedding")
    row = _word_id(word, tokenizer, table.shape[0])
    names = {
        i: token_name(tokenizer, i) for i in range(min(tokenizer.vocab_size, table.shape[0])) if _has(tokenizer, i)
    }
    found = [(names.get(i, f"[{i}]"), i, c) for i, c in neighbours(table, name, row, count)]
    if out.as_json:
        listed = [{"token": t, "id": i, "cosine": c} for t, i, c in found]
        body = {"schema": "llmkit/inspect-neighbors/1", "token": names.get(row, ""), "id": row, "neighbors": listed}
        out.object(body)
    elif out.is_terminal:
        from llmkit.render.links import Link, link_lines

        out.draw(link_lines([Link(names.get(row, word), row, t, i, c) for t, i, c in found], out.width))
    else:
        out.records((json.dumps(t, ensure_ascii=False)[1:-1], i, f"{c:.6f}") for t, i, c in found)


def _word_id(word: str, tokenizer: Any, rows: int) -> int:
    """The one token that `word` is: inside a text, at its start, or as the vocabulary spells it."""
    for ids in (tokenizer.encode(" " + word), tokenizer.encode(word), [tokenizer.id(word)]):
        if len(ids) == 1 and ids[0] is not None and ids[0] < rows and ids[0] != tokenizer.unk_id:
            return int(ids[0])
    pieces = [tokenizer.token(i) for i in tokenizer.encode(word)]
    raise InputRefused(f"{word!r} is not one token of this model", f"its pieces are {' '.join(pieces)}"[:200])


def _has(tokenizer: Any, token_id: int) -> bool:
    return tokenizer.backend.id_to_token(token_id) is not None


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value
