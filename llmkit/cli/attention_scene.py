"""What `inspect --text` looks at: the flags, the reading they lead to, and its strongest links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmkit.inspection.attention import Head, Reading
    from llmkit.inspection.patterns import Floats
    from llmkit.inspection.tokens import Tokens
    from llmkit.render.grid import Grid, Scale
    from llmkit.render.links import Link


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
    cross: bool = False
    target: str | None = None

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
    def what(self) -> str:
        """What a title calls it."""
        return "cross-attention" if self.reading.is_across else "attention"

    @property
    def tokens(self) -> Tokens:
        return self.reading.tokens

    @property
    def keys(self) -> Tokens:
        return self.reading.keys

    @property
    def key_window(self) -> tuple[int, int]:
        """The keys shown: those of the window, or all when they are of another text."""
        return (0, len(self.keys)) if self.reading.is_across else self.window

    @property
    def scale(self) -> Scale:
        return self.view.scale  # type: ignore[return-value]  # checked when the flags were read


def focus(scene: Scene) -> Head:
    """The head that --layer and --head name, else the most peaked one at hand."""
    if scene.view.is_one_head:
        assert scene.view.layer is not None
        assert scene.view.head is not None
        return scene.reading.heads[scene.view.layer, scene.view.head]
    among = [h for h in scene.reading.most_peaked(len(scene.reading.heads)) if (h.layer, h.index) in scene.maps]
    return among[0] if among else scene.reading.most_peaked(1)[0]


def grid_of(scene: Scene, key: tuple[int, int]) -> Grid:
    """The map of one head, labelled and cut to the window."""
    from llmkit.render.grid import make_grid

    names = scene.keys.names if scene.reading.is_across else None
    return make_grid(scene.maps[key], scene.tokens.names, causal=scene.reading.causal, window=scene.window, keys=names)


def strongest_links(scene: Scene, key: tuple[int, int]) -> list[Link]:
    """The strongest links of one head inside the window."""
    from llmkit.inspection.patterns import strongest

    (a, b), (c, d) = scene.window, scene.key_window
    weights = scene.maps[key].copy()
    weights[:a], weights[b:], weights[:, :c], weights[:, d:] = 0, 0, 0, 0
    reading = scene.reading
    found = strongest(weights, scene.view.top, causal=reading.causal, sinks=scene.keys.sinks, across=reading.is_across)
    return named_links(scene, found)


def named_links(scene: Scene, links: Sequence[tuple[int, int, float]]) -> list[Link]:
    """Links with the tokens they join."""
    from llmkit.render.links import Link

    queries, keys = scene.tokens.names, scene.keys.names
    return [Link(queries[q], q, keys[k], k, w) for q, k, w in links]
