"""Attention for programs: tab-separated links, JSON, safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llmkit.cli.attention_scene import Scene, strongest_links
from llmkit.cli.output import Output


def records(scene: Scene) -> Iterator[tuple[object, ...]]:
    """layer, head, query, key, weight; query and key are token@position, with tabs and controls escaped."""
    queries_at, keys_at = _ends(scene.tokens.names), _ends(scene.keys.names)
    (a, b), (c, d) = scene.window, scene.key_window
    layers, heads = (1 + max(k[i] for k in scene.reading.heads) for i in (0, 1))
    for layer, head in scene.view.chosen(layers, heads):
        if (layer, head) not in scene.reading.heads:  # a layer that looks at a shortened text
            continue
        if (layer, head) not in scene.maps:
            for q, k, weight in scene.reading.heads[layer, head].links[: scene.view.top]:
                yield layer, head, queries_at[q], keys_at[k], f"{weight:.6f}"
            continue
        weights = scene.maps[layer, head]
        if scene.view.every:
            queries = range(a, b) if scene.query is None else [scene.query]
            pairs = ((q, k) for q in queries for k in range(c, min(d, q + 1) if scene.reading.causal else d))
            rows: Iterator[tuple[int, int, float]] = ((q, k, float(weights[q, k])) for q, k in pairs)
        elif scene.query is not None:
            order = sorted(range(c, d), key=lambda k: -float(weights[scene.query, k]))[: scene.view.top]
            rows = ((scene.query, k, float(weights[scene.query, k])) for k in order)
        else:
            rows = ((link.query_at, link.key_at, link.weight) for link in strongest_links(scene, (layer, head)))
        for q, k, weight in rows:
            yield layer, head, queries_at[q], keys_at[k], f"{weight:.6f}"


def _ends(names: Sequence[str]) -> list[str]:
    return [f"{json.dumps(name, ensure_ascii=False)[1:-1]}@{i}" for i, name in enumerate(names)]


def as_json(scene: Scene) -> dict[str, Any]:
    """Tokens, scores, links and whole maps as nested lists."""
    tokens, heads = scene.tokens, []
    for key, head in sorted(scene.reading.heads.items()):
        if key not in scene.maps:
            continue
        scores = asdict(head.scores)
        heads.append(
            {
                "layer": head.layer,
                "head": head.index,
                "kind": head.scores.kind,
                "scores": {name: None if v is None else round(v, 6) for name, v in scores.items()},
                "hidden_mass": scene.hidden.get(key),
                "links": [[q, k, round(w, 7)] for q, k, w in head.links],
                "weights": [[round(float(w), 7) for w in row] for row in scene.maps[key]],
            }
        )
    return {
        "schema": "llmkit/inspect-attention/1",
        "name": scene.name,
        "causal": scene.reading.causal,
        "tokens": list(tokens.names),
        "ids": list(tokens.ids),
        "special": list(tokens.special),
        "dropped": tokens.dropped,
        "read": list(scene.keys.names) if scene.reading.is_across else None,
        "query": scene.query,
        "heads": heads,
    }


def save(scene: Scene, path: Path, out: Output) -> None:
    """Maps as `layer.L.head.H`, each (queries, keys) float32, with the tokens in the metadata."""
    import numpy as np
    from safetensors.numpy import save as serialize

    from llmkit.cli.output import write_file

    tensors = {f"layer.{a}.head.{b}": np.ascontiguousarray(m) for (a, b), m in sorted(scene.maps.items())}
    tensors["ids"] = np.array(scene.tokens.ids, dtype=np.int64)
    if scene.reading.is_across:
        tensors["read_ids"] = np.array(scene.keys.ids, dtype=np.int64)
    metadata = {"tokens": json.dumps(scene.tokens.names), "model": scene.name, "causal": str(scene.reading.causal)}
    metadata |= {"read": json.dumps(scene.keys.names)} if scene.reading.is_across else {}
    # The library's own save_file would put a new file, readable by its owner only, in the place of what is there.
    write_file(path, serialize(tensors, metadata=metadata))
    out.note(f"wrote {path}")
