"""The faces of `inspect --text`: overview and links, one head as a map, all heads, one query, records, JSON, files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.cli.inspect_tree import Output
from llmkit.errors import StorageError, UsageError

if TYPE_CHECKING:
    from rich.text import Text

    from llmkit.inspection.attention import Head, Reading
    from llmkit.inspection.patterns import Floats
    from llmkit.inspection.tokens import Tokens
    from llmkit.models.config import ModelConfig
    from llmkit.render.grid import Grid, Scale
    from llmkit.render.links import Link
    from llmkit.render.palette import Palette

SCALES = ("sqrt", "linear", "log")
_PEAKED_HEADS, _LINKS_EACH = 5, 3
_HELD_CELLS, _JSON_CELLS = 2**29, 2**24


@dataclass(frozen=True)
class View:
    """What to look at, as the flags say."""

    layer: int | None
    head: int | None
    all_heads: bool
    query: str | None
    hide_sink: bool
    window: str | None
    scale: str
    top: int
    every: bool
    save: Path | None

    @property
    def is_one_head(self) -> bool:
        return self.layer is not None and self.head is not None

    def chosen(self, layers: int, heads: int) -> list[tuple[int, int]]:
        """The heads that --layer and --head leave, all without them."""
        return [
            (layer, head)
            for layer in ([self.layer] if self.layer is not None else range(layers))
            for head in ([self.head] if self.head is not None else range(heads))
        ]


@dataclass(frozen=True)
class Scene:
    """Everything a face of this command draws from. hidden: mean mass on sink keys that --hide-sink took away."""

    name: str
    reading: Reading
    view: View
    window: tuple[int, int]
    query: int | None
    maps: dict[tuple[int, int], Floats]
    hidden: dict[tuple[int, int], float]

    @property
    def tokens(self) -> Tokens:
        return self.reading.tokens

    @property
    def scale(self) -> Scale:
        return self.view.scale  # type: ignore[return-value]  # checked when the flags were read


def show_attention(path: Path, text: str, view: View, out: Output, device: str) -> None:
    """Run the model in `path` on `text` and show its attention in the face that `out` and `view` ask for."""
    from llmkit.checkpoint.config_json import read_model_config
    from llmkit.inspection.tokens import find_query, read_tokens
    from llmkit.models.family import Kind
    from llmkit.tokenization.tokenizer import Tokenizer

    family, config = read_model_config(path)
    _check_flags(view, config)
    tokens = read_tokens(
        _read(text), Tokenizer.from_file(path), encoder=family.kind is Kind.ENCODER, context=config.max_seq_len
    )
    if max(tokens.ids) >= config.vocab_size:
        from llmkit.errors import InputRefused

        raise InputRefused(f"the tokenizer in {path} has ids that the model lacks", "it belongs to another model")
    if tokens.dropped:
        out.note(
            f"the text is longer than the context of {config.max_seq_len}: the last {tokens.dropped} tokens are cut"
        )
    window = _window(view.window, len(tokens))
    query = None
    if view.query is not None:
        query, matches = find_query(view.query, tokens)
        if matches > 1:
            out.note(f"{view.query!r} stands {matches} times in the text; this is the last, at {query}")
    scene = _look(path, tokens, view, window, query, config, out, device)
    if view.save is not None:
        _save(scene, view.save, out)
    if out.svg is not None:
        _write_svg(scene, out)
    if out.as_json:
        out.object(_as_json(scene))
    elif view.save is not None or out.svg is not None:
        return
    elif out.is_terminal:
        out.draw(_drawing(scene, out.width, out.palette))
    else:
        out.records(_records(scene))


def _check_flags(view: View, config: ModelConfig) -> None:
    from llmkit.suggest import did_you_mean

    for name, value, count in (("layer", view.layer, config.n_layers), ("head", view.head, config.n_heads)):
        if value is not None and not 0 <= value < count:
            raise UsageError(f"there is no {name} {value} in this model", f"--{name} takes 0 to {count - 1}")
    if view.scale not in SCALES:
        raise UsageError(f"--scale is {view.scale!r}", did_you_mean(view.scale, SCALES) or "use sqrt, linear or log")


def _read(text: str) -> str:
    if text != "-":
        return text
    from llmkit.cli.lines import read_stdin_text

    return read_stdin_text().rstrip("\n")


def _window(asked: str | None, total: int) -> tuple[int, int]:
    if asked is None:
        return 0, total
    start, colon, end = asked.partition(":")
    try:
        a, b = int(start or 0), int(end or total)
    except ValueError:
        a, b = 0, -1
    b = min(b, total)
    if not colon or not 0 <= a < b:
        raise UsageError(f"--window {asked!r} selects nothing", f"give a:b with 0 <= a < b <= {total}")
    return a, b


def _look(
    path: Path,
    tokens: Tokens,
    view: View,
    window: tuple[int, int],
    query: int | None,
    config: ModelConfig,
    out: Output,
    device: str,
) -> Scene:
    from llmkit.checkpoint.hf_layout import read_model
    from llmkit.inspection.attention import read_attention
    from llmkit.inspection.patterns import without_sinks
    from llmkit.inspection.structure import display_name

    wanted = view.chosen(config.n_layers, config.n_heads)
    keep = wanted if _needs_maps(view, out) else []
    _refuse_too_much(len(keep), len(tokens), out)
    model = read_model(path, device=_device(device))
    reading = read_attention(model, tokens, causal=model.is_causal, keep=keep)
    maps, hidden = dict(reading.maps), {}
    if view.hide_sink:
        for key, weights in maps.items():
            maps[key], hidden[key] = without_sinks(weights, tokens.sinks)
    return Scene(display_name(path), reading, view, window, query, maps, hidden)


def _needs_maps(view: View, out: Output) -> bool:
    """Whether summaries and strongest links will not do; maps of all heads of a long text take gigabytes."""
    if out.as_json or out.svg is not None or view.save is not None or view.query is not None:
        return True
    if out.is_terminal:
        return view.all_heads or view.layer is not None or view.head is not None
    from llmkit.inspection.patterns import LINKS

    return view.every or view.hide_sink or view.window is not None or view.top > LINKS


def _refuse_too_much(heads: int, tokens: int, out: Output) -> None:
    cells = heads * tokens * tokens
    if cells > (_JSON_CELLS if out.as_json else _HELD_CELLS):
        raise UsageError(
            f"{heads} maps of {tokens} x {tokens} tokens are too much at once",
            "choose one head with --layer and --head, or cut the text",
        )


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


# --- drawings -------------------------------------------------------------------------------------------------------


def _drawing(scene: Scene, width: int, palette: Palette) -> Iterator[Text]:
    view = scene.view
    if scene.query is not None:
        return _draw_query(scene, width)
    if view.is_one_head:
        return _draw_head(scene, _one(scene), width, palette)
    if view.all_heads or view.layer is not None or view.head is not None:
        return _draw_many(scene, width, palette)
    return _draw_overview(scene, width, palette)


def _one(scene: Scene) -> Head:
    if scene.view.is_one_head:
        assert scene.view.layer is not None
        assert scene.view.head is not None
        return scene.reading.heads[scene.view.layer, scene.view.head]
    among = [h for h in scene.reading.most_peaked(len(scene.reading.heads)) if (h.layer, h.index) in scene.maps]
    return among[0] if among else scene.reading.most_peaked(1)[0]


def _title(*words: str, width: int) -> Text:
    from rich.text import Text

    from llmkit.render.safe_text import safe_line
    from llmkit.render.tree import fit

    line = Text(no_wrap=True)
    line.append(fit(safe_line("   ".join(w for w in words if w)), width), "bold")
    return line


def _draw_overview(scene: Scene, width: int, palette: Palette) -> Iterator[Text]:
    from rich.text import Text

    from llmkit.render.links import link_lines
    from llmkit.render.overview import overview_lines

    heads = scene.reading.heads
    layers, columns = 1 + max(layer for layer, _ in heads), 1 + max(head for _, head in heads)
    yield _title(
        "attention", scene.name, f"{layers} layers × {columns} heads", f"{len(scene.tokens)} tokens", width=width
    )
    yield from overview_lines({k: (h.scores.letter, h.scores.score) for k, h in heads.items()}, width, palette)
    for head in scene.reading.most_peaked(_PEAKED_HEADS):
        yield Text("")
        yield _title(f"L{head.layer}.h{head.index}", _words(head), width=width)
        yield from link_lines(_links(scene, head.links)[:_LINKS_EACH], width)
    best = scene.reading.most_peaked(1)[0]
    yield Text("")
    yield Text(f"next: --layer {best.layer} --head {best.index}   --all-heads   --query WORD   --json"[:width], "dim")


def _words(head: Head) -> str:
    return f"{head.scores.kind} {head.scores.score:.2f}, sink {head.scores.sink:.2f}"


def _draw_head(scene: Scene, head: Head, width: int, palette: Palette) -> Iterator[Text]:
    from rich.text import Text

    from llmkit.render.heatmap import heatmap_lines
    from llmkit.render.links import link_lines

    key = (head.layer, head.index)
    sink = f"sink {head.scores.sink:.2f} ({'hidden' if scene.view.hide_sink else 'shown'})"
    kind = f"{head.scores.kind} {head.scores.score:.2f}"
    yield _title("attention", scene.name, f"layer {head.layer} head {head.index}", kind, sink, width=width)
    yield from heatmap_lines(_grid(scene, key), width, palette, scene.scale)
    yield Text("")
    yield Text("strongest links, sink hidden" if not scene.view.hide_sink else "strongest links, renormalized", "dim")
    yield from link_lines(_strongest(scene, key), width)
    yield Text("next: --query WORD   --hide-sink   --json"[:width], "dim")


def _draw_many(scene: Scene, width: int, palette: Palette) -> Iterator[Text]:
    from llmkit.render.multiples import multiples_lines

    a, b = scene.window
    maps = {key: weights[a:b, a:b] for key, weights in scene.maps.items()}
    yield _title("attention", scene.name, f"{len(maps)} heads, {b - a} tokens, pooled by the maximum", width=width)
    yield from multiples_lines(maps, causal=scene.reading.causal, width=width, palette=palette, scale=scene.scale)


def _draw_query(scene: Scene, width: int) -> Iterator[Text]:
    from llmkit.render.labels import label
    from llmkit.render.links import link_lines

    assert scene.query is not None
    where = (
        f"layer {scene.view.layer} head {scene.view.head}"
        if scene.view.is_one_head
        else "the strongest of each key's heads"
    )
    name = label(scene.tokens.names[scene.query])
    yield _title("attention", scene.name, f"what {name}@{scene.query} looks at", where, width=width)
    yield from link_lines(_query_links(scene), width)


def _query_links(scene: Scene) -> list[Link]:
    """For each key the head that looks at it most, sinks left out unless one head was chosen; strongest first."""
    from llmkit.render.links import Link

    query, names = scene.query, scene.tokens.names
    assert query is not None
    best: dict[int, tuple[float, str]] = {}
    skipped = set() if scene.view.is_one_head else set(scene.tokens.sinks)
    a, b = scene.window
    for (layer, head), weights in scene.maps.items():
        for key in range(a, b):
            weight = float(weights[query, key])
            if key not in skipped and weight > best.get(key, (0.0, ""))[0]:
                best[key] = (weight, "" if scene.view.is_one_head else f"L{layer}.h{head}")
    order = sorted(best, key=lambda k: (-best[k][0], k))[: scene.view.top]
    return [Link(names[query], query, names[k], k, best[k][0], best[k][1]) for k in order]


def _grid(scene: Scene, key: tuple[int, int]) -> Grid:
    from llmkit.render.grid import make_grid

    return make_grid(scene.maps[key], scene.tokens.names, causal=scene.reading.causal, window=scene.window)


def _strongest(scene: Scene, key: tuple[int, int]) -> list[Link]:
    from llmkit.inspection.patterns import strongest

    a, b = scene.window
    weights = scene.maps[key].copy()
    weights[:a], weights[b:], weights[:, :a], weights[:, b:] = 0, 0, 0, 0
    return _links(scene, strongest(weights, scene.view.top, causal=scene.reading.causal, sinks=scene.tokens.sinks))


def _links(scene: Scene, links: Sequence[tuple[int, int, float]]) -> list[Link]:
    from llmkit.render.links import Link

    names = scene.tokens.names
    return [Link(names[q], q, names[k], k, w) for q, k, w in links]


# --- records, JSON, files -------------------------------------------------------------------------------------------


def _records(scene: Scene) -> Iterator[tuple[object, ...]]:
    """layer, head, query, key, weight; query and key are token@position, with tabs and controls escaped."""
    ends = [f"{json.dumps(name, ensure_ascii=False)[1:-1]}@{i}" for i, name in enumerate(scene.tokens.names)]
    a, b = scene.window
    layers, heads = (1 + max(k[i] for k in scene.reading.heads) for i in (0, 1))
    for layer, head in scene.view.chosen(layers, heads):
        if (layer, head) not in scene.maps:
            for q, k, weight in scene.reading.heads[layer, head].links[: scene.view.top]:
                yield layer, head, ends[q], ends[k], f"{weight:.6f}"
            continue
        weights = scene.maps[layer, head]
        if scene.view.every:
            queries = range(a, b) if scene.query is None else [scene.query]
            pairs = ((q, k) for q in queries for k in range(a, min(b, q + 1) if scene.reading.causal else b))
            rows: Iterator[tuple[int, int, float]] = ((q, k, float(weights[q, k])) for q, k in pairs)
        elif scene.query is not None:
            order = sorted(range(a, b), key=lambda k: -float(weights[scene.query, k]))[: scene.view.top]
            rows = ((scene.query, k, float(weights[scene.query, k])) for k in order)
        else:
            rows = ((link.query_at, link.key_at, link.weight) for link in _strongest(scene, (layer, head)))
        for q, k, weight in rows:
            yield layer, head, ends[q], ends[k], f"{weight:.6f}"


def _as_json(scene: Scene) -> dict[str, Any]:
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
        "query": scene.query,
        "heads": heads,
    }


def _save(scene: Scene, path: Path, out: Output) -> None:
    """Maps as `layer.L.head.H`, each (T, T) float32, with the tokens in the metadata."""
    import numpy as np
    from safetensors.numpy import save_file

    tensors = {f"layer.{a}.head.{b}": np.ascontiguousarray(m) for (a, b), m in sorted(scene.maps.items())}
    tensors["ids"] = np.array(scene.tokens.ids, dtype=np.int64)
    metadata = {"tokens": json.dumps(scene.tokens.names), "model": scene.name, "causal": str(scene.reading.causal)}
    try:
        save_file(tensors, str(path), metadata=metadata)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror or error}") from error
    except Exception as error:  # the library's own error type wraps the system's text
        raise StorageError(f"{path}: {error}") from error
    out.note(f"wrote {path}")


def _write_svg(scene: Scene, out: Output) -> None:
    from llmkit.render.screen_svg import screen_svg
    from llmkit.render.svg import heatmap_svg

    if scene.query is not None or scene.view.all_heads:
        title, *lines = _drawing(scene, 120, "truecolor")
        out.write_svg(screen_svg(lines, title=title.plain.replace("   ", " · ")))
        return
    head = _one(scene)
    key = (head.layer, head.index)
    if not scene.view.is_one_head:
        out.note(f"drawing layer {head.layer} head {head.index}, the most peaked one")
    subtitle = f"{scene.name} · {head.scores.kind} {head.scores.score:.2f} · sink {head.scores.sink:.2f}"
    picture = heatmap_svg(
        _grid(scene, key),
        title=f"layer {head.layer} · head {head.index}",
        subtitle=subtitle,
        links=_strongest(scene, key)[:6],
        scale=scene.scale,
        note="sink keys hidden" if scene.view.hide_sink else "",
    )
    out.write_svg(picture)
