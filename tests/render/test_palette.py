from itertools import pairwise

import pytest

from llmkit.render.palette import (
    RAMP_256,
    cube,
    hexed,
    ink_on,
    kind_color,
    lightness,
    luminance,
    ramp_char,
    ramp_color,
    truecolor_ramp,
)


def deuteranopia(rgb):
    """sRGB as a person without green cones sees it (Viénot et al. 1999, in linear light)."""
    linear = [((v / 255 + 0.055) / 1.055) ** 2.4 if v > 10 else v / 255 / 12.92 for v in rgb]
    r, g, b = linear
    seen = (0.29275 * r + 0.70725 * g, 0.29275 * r + 0.70725 * g, -0.02234 * r + 0.02234 * g + b)
    return tuple(round(255 * (1.055 * max(0, v) ** (1 / 2.4) - 0.055)) if v > 0.0031308 else 0 for v in seen)


@pytest.mark.parametrize("ramp", [truecolor_ramp(), tuple(cube(i) for i in RAMP_256)], ids=["truecolor", "256"])
def test_lightness_rises_strictly_for_every_eye(ramp):
    assert all(a < b for a, b in pairwise(map(lightness, ramp)))
    assert all(a < b for a, b in pairwise(lightness(deuteranopia(c)) for c in ramp))


def test_no_color_of_the_ramp_drowns_in_a_black_background():
    assert lightness(truecolor_ramp()[0]) > 0.25


@pytest.mark.parametrize("palette", ["truecolor", "256"])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 1.0, 7.0, float("nan")])
def test_every_value_has_a_color_with_readable_ink(value, palette):
    color = ramp_color(value, palette)
    rgb = tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) if color[0] == "#" else cube(int(color[6:-1]))
    ink = 1.0 if ink_on(color) == "#ffffff" else 0.0
    light, dark = max(luminance(rgb), ink), min(luminance(rgb), ink)
    assert (light + 0.05) / (dark + 0.05) >= 3.6


def test_brighter_pattern_cells_mean_higher_scores():
    for kind in "psldicb":
        colors = [kind_color(kind, s / 10, "truecolor") for s in range(11)]
        values = [lightness(tuple(int(c[i : i + 2], 16) for i in (1, 3, 5))) for c in colors]
        assert all(a < b for a, b in pairwise(values))


def test_small_weights_leave_blanks_where_there_is_no_color():
    assert ramp_char(0.2, 0.04) == " "
    assert [ramp_char(v, 1.0) for v in (0.06, 0.2, 0.4, 0.7, 0.9)] == list(".:oO@")


def test_cube_spells_the_known_colors():
    assert hexed(cube(16)) == "#000000"
    assert hexed(cube(231)) == "#ffffff"
    assert hexed(cube(244)) == "#808080"
