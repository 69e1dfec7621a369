import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from rich.text import Text

from llmkit.render.grid import make_grid
from llmkit.render.links import Link
from llmkit.render.screen_svg import screen_svg
from llmkit.render.svg import heatmap_svg

SVG = "{http://www.w3.org/2000/svg}"
NASTY = ["<script>", "&amp;", "\x1b[31m", '"quoted"', "好", "\u202eevil", "\x00"]


def draw(tokens, causal=True, links=()):
    weights = np.full((len(tokens), len(tokens)), 1 / len(tokens), dtype=np.float32)
    grid = make_grid(weights, tokens, causal=causal)
    return heatmap_svg(grid, title="layer 1 · head 2", subtitle="tiny <&>", links=links)


@pytest.mark.parametrize("tokens", [1, 7, 24, 90, 300])
@pytest.mark.parametrize("causal", [True, False])
def test_the_picture_is_well_formed_and_refers_to_nothing_outside(tokens, causal):
    picture = draw([NASTY[i % len(NASTY)] for i in range(tokens)], causal, [Link("<it>", 3, "&cat", 1, 0.9)])
    root = ET.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    assert "<script" not in picture
    assert not re.search(r"href|@import|@font-face|url\(|http(?!://www.w3.org/2000/svg)", picture)
    assert "\u202e" not in picture


def test_masked_cells_are_not_drawn():
    def cells(causal):
        root = ET.fromstring(draw(["a"] * 8, causal))
        return sum(e.get("width") == e.get("height") == "28" for e in root.iter(f"{SVG}rect"))

    assert cells(False) == 64
    assert cells(True) == 36


def test_nothing_is_drawn_outside_the_page():
    root = ET.fromstring(draw(["word"] * 20, False, [Link("it", 3, "internationalization", 1, 0.9)] * 6))
    width, height = float(root.get("width")), float(root.get("height"))
    for rect in root.iter(f"{SVG}rect"):
        assert 0 <= float(rect.get("x")) <= float(rect.get("x")) + float(rect.get("width")) <= width
        assert 0 <= float(rect.get("y")) <= float(rect.get("y")) + float(rect.get("height")) <= height


def test_a_screen_keeps_its_words_and_blocks():
    line = Text("name ")
    line.append("██▌", "green").append("▀", "#ff0000 on #0000ff").append(" 0.97 <b>")
    picture = screen_svg([line, Text("")], title="a & b")
    words = [e.text for e in ET.fromstring(picture).iter(f"{SVG}text")]
    assert words == ["a & b", "name", "0.97", "<b>"]
    assert picture.count("<rect") == 1 + 1 + 2
