"""All heads at once: every map pooled to a thumbnail. No token can be read, but patterns jump out."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from rich.text import Text

from llmkit.render.grid import Floats, Scale, make_grid, pool, scaled
from llmkit.render.heatmap import half_cells
from llmkit.render.palette import Palette, ramp_char

_GUTTER = 5
_SIZES = (16, 12, 10, 8, 6, 5)


def tile_size(heads: int, width: int, tokens: int) -> int:
    """Cells a side of one thumbnail: the largest that puts all heads of a layer on one line, at least 5."""
    fitting = (s for s in _SIZES if _GUTTER + heads * (s + 1) <= width + 1)
    return max(1, min(next(fitting, _SIZES[-1]), tokens, max(1, width - _GUTTER)))


def multiples_lines(
    maps: Mapping[tuple[int, int], Floats], *, causal: bool, width: int, palette: Palette, scale: Scale = "sqrt"
) -> list[Text]:
    """Draw the maps {(layer, head): (T, T)}: a band of thumbnails per layer, a blank line between layers."""
    layers = sorted({layer for layer, _ in maps})
    heads = sorted({head for _, head in maps})
    tokens = max(next(iter(maps.values())).shape) if maps else 0
    size = tile_size(len(heads), width, tokens)
    size = math.ceil(tokens / math.ceil(tokens / size)) if tokens else size  # cells that pooling leaves
    per_line = max(1, (width - _GUTTER + 1) // (size + 1))
    lines: list[Text] = []
    for layer in layers:
        for start in range(0, len(heads), per_line):
            chosen = [h for h in heads[start : start + per_line] if (layer, h) in maps]
            tiles = [_thumbnail(maps[layer, h], causal, size, scale) for h in chosen]
            if layer == layers[0] or len(heads) > per_line:
                heading = "".join(f"{f'h{h}':<{size + 1}}" for h in chosen)
                lines.append(Text(" " * _GUTTER + heading.rstrip(), style="dim"))
            lines += _band(f"L{layer}" if start == 0 else "", tiles, palette)
            lines.append(Text(""))
    for line in lines:
        line.no_wrap = True
        line.truncate(width)
    return lines[:-1]


def _thumbnail(weights: Floats, causal: bool, size: int, scale: Scale) -> Floats:
    rows, columns = weights.shape
    keys = None if rows == columns else [""] * columns
    grid = pool(make_grid(weights, [""] * rows, causal=causal, keys=keys), size)
    return scaled(grid.weights, scale, grid.top)


def _band(name: str, tiles: list[Floats], palette: Palette) -> list[Text]:
    height = max((len(t) for t in tiles), default=0)
    step = 1 if palette == "none" else 2
    lines = []
    for i in range(0, height, step):
        line = Text(f"{name if i == 0 else '':<{_GUTTER}}")
        for tile in tiles:
            if palette == "none":
                line.append("".join(" " if np.isnan(v) else ramp_char(float(v), float(v) ** 2) for v in tile[i]))
            else:
                for cell, style in half_cells(tile[i], tile[i + 1] if i + 1 < len(tile) else None, palette):
                    line.append(cell, style)
            line.append(" ")
        line.rstrip()
        lines.append(line)
    return lines
