"""Attention for eyes: overview and links, one head as a map, all heads, one query; as terminal lines and as SVG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmkit.cli.attention_scene import Scene, focus, grid_of, named_links, strongest_links
from llmkit.cli.output import Output

if TYPE_CHECKING:
    from rich.text import Text

    from llmkit.inspection.attention import Head
    from llmkit.render.links import Link
    from llmkit.render.palette import Palette

_PEAKED_HEADS, _LINKS_EACH = 5, 3


def drawing(scene: Scene, width: int, palette: Palette) -> Iterator[Text]:
    """The lines for a terminal that the flags ask for."""
    view = scene.view
    if scene.query is not None:
        return _draw_query(scene, width)
    if view.is_one_head:
        return _draw_head(scene, focus(scene), width, palette)
    if view.all_heads or view.layer is not None or view.head is not None:
        return _draw_many(scene, width, palette)
    return _draw_overview(scene, width, palette)


def _title(*words: str, width: int) -> Text:
    from rich.text import Text

    from llmkit.render.safe_text import safe_line
    from llmkit.render.tree import fit

    line = Text(no_wrap=True)
    line.append(fit(safe_line("   ".join(w for w in words if w)), width), "bold")
    return line


def _next(*flags: str, width: int) -> Text:
    """What to look at next: as many of the flags as fit, none cut."""
    from rich.text import Text

    line = "next:"
    for flag in flags:
        line += f"{'   ' if line != 'next:' else ' '}{flag}" if len(line) + 3 + len(flag) <= width else ""
    return Text(line, "dim")


def _draw_overview(scene: Scene, width: int, palette: Palette) -> Iterator[Text]:
    from rich.text import Text

    from llmkit.render.links import link_lines
    from llmkit.render.overview import overview_lines

    heads = scene.reading.heads
    layers, columns = 1 + max(layer for layer, _ in heads), 1 + max(head for _, head in heads)
    yield _title(
        scene.what, scene.name, f"{layers} layers × {columns} heads", f"{len(scene.tokens)} tokens", width=width
    )
    yield from overview_lines({k: (h.scores.letter, h.scores.score) for k, h in heads.items()}, width, palette)
    for head in scene.reading.most_peaked(_PEAKED_HEADS):
        yield Text("")
        yield _title(f"L{head.layer}.h{head.index}", _words(head), width=width)
        yield from link_lines(named_links(scene, head.links)[:_LINKS_EACH], width)
    best = scene.reading.most_peaked(1)[0]
    yield Text("")
    yield _next(f"--layer {best.layer} --head {best.index}", "--all-heads", "--query WORD", "--json", width=width)


def _words(head: Head) -> str:
    return f"{head.scores.kind} {head.scores.score:.2f}, sink {head.scores.sink:.2f}"


def _draw_head(scene: Scene, head: Head, width: int, palette: Palette) -> Iterator[Text]:
    from rich.text import Text

    from llmkit.render.heatmap import heatmap_lines
    from llmkit.render.links import link_lines
    from llmkit.render.tree import fit

    key = (head.layer, head.index)
    sink = f"sink {head.scores.sink:.2f} ({'hidden' if scene.view.hide_sink else 'shown'})"
    kind = f"{head.scores.kind} {head.scores.score:.2f}"
    yield _title(scene.what, scene.name, f"layer {head.layer} head {head.index}", kind, sink, width=width)
    yield from heatmap_lines(grid_of(scene, key), width, palette, scene.scale)
    yield Text("")
    heading = "strongest links, sink hidden" if not scene.view.hide_sink else "strongest links, renormalized"
    yield Text(fit(heading, width), "dim")
    yield from link_lines(strongest_links(scene, key), width)
    yield _next("--query WORD", "--hide-sink", "--json", width=width)


def _draw_many(scene: Scene, width: int, palette: Palette) -> Iterator[Text]:
    from llmkit.render.multiples import multiples_lines

    a, b = scene.window
    c, d = scene.key_window
    maps = {key: weights[a:b, c:d] for key, weights in scene.maps.items()}
    yield _title(scene.what, scene.name, f"{len(maps)} heads, {b - a} tokens, pooled by the maximum", width=width)
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
    yield _title(scene.what, scene.name, f"what {name}@{scene.query} looks at", where, width=width)
    yield from link_lines(_query_links(scene), width)


def _query_links(scene: Scene) -> list[Link]:
    """For each key the head that looks at it most, sinks left out unless one head was chosen; strongest first."""
    from llmkit.render.links import Link

    query, names, keys = scene.query, scene.tokens.names, scene.keys.names
    assert query is not None
    best: dict[int, tuple[float, str]] = {}
    skipped = set() if scene.view.is_one_head else set(scene.keys.sinks)
    a, b = scene.key_window
    for (layer, head), weights in scene.maps.items():
        for key in range(a, b):
            weight = float(weights[query, key])
            if key not in skipped and weight > best.get(key, (0.0, ""))[0]:
                best[key] = (weight, "" if scene.view.is_one_head else f"L{layer}.h{head}")
    order = sorted(best, key=lambda k: (-best[k][0], k))[: scene.view.top]
    return [Link(names[query], query, keys[k], k, best[k][0], best[k][1]) for k in order]


def write_svg(scene: Scene, out: Output) -> None:
    """The picture: one head as a map, or the screen of all heads or one query."""
    from llmkit.render.screen_svg import screen_svg
    from llmkit.render.svg import heatmap_svg

    if scene.query is not None or scene.view.all_heads:
        title, *lines = drawing(scene, 120, "truecolor")
        out.write_svg(screen_svg(lines, title=title.plain.replace("   ", " · ")))
        return
    head = focus(scene)
    key = (head.layer, head.index)
    if not scene.view.is_one_head:
        out.note(f"drawing layer {head.layer} head {head.index}, the most peaked one")
    subtitle = f"{scene.name} · {head.scores.kind} {head.scores.score:.2f} · sink {head.scores.sink:.2f}"
    picture = heatmap_svg(
        grid_of(scene, key),
        title=f"layer {head.layer} · head {head.index}",
        subtitle=subtitle,
        links=strongest_links(scene, key)[:6],
        scale=scene.scale,
        note="sink keys hidden" if scene.view.hide_sink else "",
    )
    out.write_svg(picture)
