import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from llmkit.render.grid import make_grid, pool, scaled
from llmkit.render.heatmap import HEADER_ROWS, choose_layout, heatmap_lines
from llmkit.render.multiples import multiples_lines, tile_size
from llmkit.render.overview import overview_lines

WORDS = ["The", "cat", "that", "garden", "好看", "it", "​", "\x1b[31m", "e\u0301tude", "internationalization", "\n", ""]


def causal_map(tokens, seed=0):
    scores = np.random.default_rng(seed).normal(size=(tokens, tokens)) * 2
    scores[np.triu_indices(tokens, 1)] = -np.inf
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def names(tokens):
    return [WORDS[i % len(WORDS)] for i in range(tokens)]


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.integers(1, 200),
    width=st.integers(40, 200),
    palette=st.sampled_from(["truecolor", "256", "none"]),
    scale=st.sampled_from(["sqrt", "linear", "log"]),
    causal=st.booleans(),
)
def test_no_line_is_wider_than_the_terminal_and_nothing_controls_it(tokens, width, palette, scale, causal):
    lines = heatmap_lines(make_grid(causal_map(tokens), names(tokens), causal=causal), width, palette, scale)
    assert all(cell_len(line.plain) <= width for line in lines)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for line in lines for c in line.plain)
    layout = choose_layout(tokens, width, palette)
    rows = -(-tokens // layout.pooled)
    rows = -(-rows // 2) if layout.form == "halves" else rows
    assert rows + 1 <= len(lines) <= rows + 1 + HEADER_ROWS


@pytest.mark.parametrize(
    ("tokens", "width", "form", "pooled"),
    [
        (22, 80, "numbers", 1),  # 13 + 3 x 22 = 79
        (23, 80, "cells", 1),
        (33, 80, "cells", 1),  # (80 - 13) / 2
        (34, 80, "halves", 1),
        (67, 80, "halves", 1),  # 80 - 13
        (68, 80, "cells", 3),
        (200, 80, "cells", 7),
    ],
)
def test_the_width_chooses_the_form(tokens, width, form, pooled):
    layout = choose_layout(tokens, width, "truecolor")
    assert (layout.form, layout.pooled) == (form, pooled)


def test_a_wide_terminal_shows_percentages_and_the_strongest_keys():
    weights = np.array([[1.0, 0, 0], [0.3, 0.7, 0], [0.02, 0.96, 0.02]], dtype=np.float32)
    text = [line.plain for line in heatmap_lines(make_grid(weights, ["The", "cat", "it"], causal=True), 80, "none")]
    [row] = [line for line in text if line.lstrip().startswith("it")]
    assert "96" in row
    assert "cat 96" in row
    assert " 2 " not in row.split("cat 96")[0].replace(" it  2 ", "")  # below 5 % no number is printed


def test_a_map_snapshot_without_color():
    weights = np.eye(12, dtype=np.float32) * 0.7
    weights[:, 0] += 0.3
    grid = make_grid(weights, [f"w{i}" for i in range(12)], causal=True)
    assert [line.plain.rstrip() for line in heatmap_lines(grid, 40, "none")] == [
        "                                 w w",
        "             w w w w w w w w w w 1 1",
        "             0 1 2 3 4 5 6 7 8 9 0 1",
        "       w0  0 @ ·",
        "       w1  1 O @ ·",
        "       w2  2 O   @ ·",
        "       w3  3 O     @ ·",
        "       w4  4 O       @ ·",
        "       w5  5 O         @ ·",
        "       w6  6 O           @ ·",
        "       w7  7 O             @ ·",
        "       w8  8 O               @ ·",
        "       w9  9 O                 @ ·",
        "      w10 10 O                   @ ·",
        "      w11 11 O                     @",
        "           0 .:oO@ 0.70  sqrt scale",
    ]


def test_the_legend_leaves_out_the_first_row_of_a_causal_map():
    weights = np.array([[1.0, 0], [0.75, 0.25]], dtype=np.float32)
    assert make_grid(weights, ["a", "b"], causal=True).top == 0.75
    assert make_grid(weights, ["a", "b"], causal=False).top == 1.0


def test_pooling_keeps_single_strong_links():
    weights = np.full((100, 100), 0.001, dtype=np.float32)
    weights[77, 33] = 0.9
    pooled = pool(make_grid(weights, ["x"] * 100, causal=True), 10)
    assert pooled.pooled == 10
    assert pooled.weights[7, 3] == np.float32(0.9)
    assert np.isnan(pooled.weights[0, 5])
    assert not np.isnan(pooled.weights[4, 4])


@pytest.mark.parametrize("scale", ["sqrt", "linear", "log"])
def test_scales_keep_order_and_range(scale):
    values = scaled(np.array([0.0, 0.001, 0.01, 0.1, 0.5], dtype=np.float32), scale, 0.5)
    assert values[0] == 0.0
    assert values[-1] == 1.0
    assert (np.diff(values) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(
    layers=st.integers(1, 4), heads=st.integers(1, 64), width=st.integers(40, 200), tokens=st.integers(1, 40),
    palette=st.sampled_from(["truecolor", "256", "none"]),
)  # fmt: skip
def test_screens_of_all_heads_fit(layers, heads, width, tokens, palette):
    one = causal_map(tokens)
    maps = {(layer, head): one for layer in range(layers) for head in range(heads)}
    for line in multiples_lines(maps, causal=True, width=width, palette=palette):
        assert cell_len(line.plain) <= width
    kinds = {key: ("pslidcb"[sum(key) % 7], 1.0 if key[1] == 0 else 0.37) for key in maps}
    lines = overview_lines(kinds, width, palette)
    assert all(cell_len(line.plain) <= width for line in lines)
    body = "\n".join(line.plain for line in lines)
    assert all(f"h{head}" in body for head in range(heads))
    assert len(re.findall(r"[a-z] ?37", body.replace("h37", ""))) == layers * (heads - 1)


def test_thumbnails_grow_with_the_room():
    assert tile_size(12, 80, 24) == 5
    assert tile_size(12, 120, 24) == 8
    assert tile_size(4, 80, 24) == 16
    assert tile_size(4, 80, 3) == 3


def test_headings_stand_over_their_thumbnails():
    one = causal_map(33)
    lines = multiples_lines({(0, h): one for h in range(4)}, causal=True, width=80, palette="none")
    heading, first = lines[0].plain, lines[1].plain
    assert [heading.index(f"h{h}") for h in range(4)] == [i for i, c in enumerate(first) if c != " " and i >= 5][:4]
