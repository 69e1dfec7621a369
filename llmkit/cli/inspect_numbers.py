"""The faces of `inspect` that read values: statistics, differences, neighbours. Still no torch."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmkit.cli.output import Output
from llmkit.errors import InputRefused


def show_stats(path: Path, out: Output) -> None:
    """Statistics of every tensor, as they are read; tensors with NaN or infinities named again on stderr."""
    from llmkit.checkpoint.shards import list_tensors
    from llmkit.cli.models import refuse_damaged
    from llmkit.inspection.structure import DTYPES, display_name
    from llmkit.inspection.values import stats

    refuse_damaged(path)
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
        from llmkit.render.table import Column

        columns = [Column("tensor", style="bold"), Column("shape", keep=3, style="dim")]
        columns += [Column(c, True, keep) for c, keep in (("mean", 4), ("std", 8), ("min", 6), ("max", 7))]
        columns += [Column("NaN", True, 9, "red"), Column("inf", True, 9, "red")]
        lines = [
            (name, "×".join(map(str, tensors[name].shape)), *(_short(v) for v in (s.mean, s.std, s.min, s.max)),
             str(s.nan or ""), str(s.infinite or ""))
            for name, s in found.items()
        ]  # fmt: skip
        out.table(columns, lines)
    bad = [name for name, s in found.items() if not s.is_finite]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        hold = "tensors hold" if len(bad) > 1 else "tensor holds"
        out.note(f"warning: {len(bad)} {hold} NaN or infinities: {', '.join(bad[:3])}{more}")


def show_neighbours(path: Path, word: str, count: int, out: Output) -> None:
    """Tokens whose input embeddings point where that of `word` points."""
    from llmkit.checkpoint.shards import list_tensors
    from llmkit.cli.models import refuse_damaged
    from llmkit.inspection.structure import EMBEDDINGS
    from llmkit.inspection.tokens import token_name
    from llmkit.inspection.values import neighbours
    from llmkit.tokenization.tokenizer import Tokenizer

    refuse_damaged(path)
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
