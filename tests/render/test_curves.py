import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llmkit.render.curves import Curve, axis, smoothed, x_axis, y_axis
from llmkit.render.curves_svg import curves_svg
from llmkit.render.curves_terminal import plot_lines

SVG = "{http://www.w3.org/2000/svg}"


def falling(name="run", n=200, drop=5.0, seed=0, **more):
    noise = np.random.default_rng(seed).normal(0, 0.1, n)
    points = [(10.0 * (i + 1), 2 + drop * math.exp(-i / 20) + noise[i]) for i in range(n)]
    return Curve(name, points, **more)


@given(st.floats(-1e6, 1e6), st.floats(1e-2, 1e6), st.integers(2, 12))
def test_numbers_of_an_axis_are_round_tell_each_other_apart_and_lie_inside(low, span, ticks):
    found = axis(low, low + span, ticks)
    assert len(found.ticks) <= 1.5 * ticks + 2
    assert all(found.low - 1e-6 * span <= t <= found.high + 1e-6 * span for t in found.ticks)
    steps = np.diff(found.ticks)
    if len(steps):
        mantissa = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-6)
        assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-3


def test_labels_say_what_the_numbers_are():
    assert axis(1.5, 3.1, 6).labels == ("1.50", "1.75", "2.00", "2.25", "2.50", "2.75", "3.00")
    assert axis(0, 8, 5).labels == ("0", "2", "4", "6", "8")
    assert x_axis([falling(n=6)], "seconds", 4).labels == ("0:00", "0:15", "0:30", "0:45", "1:00")
    assert x_axis([falling(n=150)], "steps", 4).labels == ("0", "500", "1,000", "1,500")
    assert x_axis([Curve("a", [(2e6, 1.0)])], "tokens", 4).labels[-1] == "2 M"


def test_smoothing_keeps_a_straight_line_and_its_ends_and_does_not_lag():
    line = Curve("a", [(float(i), 3.0 - 0.01 * i) for i in range(300)])
    ((x, y),) = smoothed(line)
    np.testing.assert_allclose(y, 3.0 - 0.01 * x, atol=1e-9)


def test_smoothing_takes_noise_out():
    ((_, y),) = smoothed(Curve("a", [(float(i), 1.0 + (-1) ** i) for i in range(1000)]))
    assert np.ptp(y[30:-30]) < 0.1


def test_a_stage_is_smoothed_on_its_own():
    points = [(float(i), 1.0) for i in range(100)] + [(float(i), 5.0) for i in range(100, 200)]
    first, second = smoothed(Curve("a", points, breaks=[99.0]))
    assert set(first[1]) == {1.0}
    assert set(second[1]) == {5.0}


def test_the_fall_from_random_weights_leaves_the_rest_most_of_the_height():
    steep = Curve("a", [(float(i), 2.0 + 100 * math.exp(-i) + 0.001 * (500 - i)) for i in range(500)])
    found = y_axis([steep])
    assert found.high < 3.5
    assert found.low <= 2.0


@pytest.mark.parametrize("columns", [20, 60, 80, 140])
@pytest.mark.parametrize("rows", [4, 20])
@pytest.mark.parametrize("colored", [True, False])
def test_every_line_fits_and_every_run_has_its_sign(columns, rows, colored):
    curves = [falling(f"r{i}", seed=i, drop=3 + i, validation=[(500.0, 3.0 + i), (2000.0, 2.0 + i)]) for i in range(3)]
    lines = [line.plain for line in plot_lines(curves, columns, rows, colored=colored)]
    assert len(lines) == rows + 2
    assert max(map(cell_len, lines)) <= columns
    text = "\n".join(lines)
    assert all(sign in text for sign in "●▲■") or columns * rows < 200
    if columns >= 60 and rows == 20:
        assert all((letter in text) != colored for letter in "abc")


def test_a_falling_curve_is_drawn_falling():
    lines = [line.plain for line in plot_lines([Curve("a", [(float(i), -float(i)) for i in range(100)])], 60, 10)]
    firsts = [min(i for i, c in enumerate(line) if c > "\u2800" and c <= "\u28ff") for line in lines[:10]]
    assert firsts == sorted(firsts)
    assert firsts[-1] - firsts[0] > 40


@pytest.mark.parametrize(
    "curve",
    [
        Curve("empty", []),
        Curve("one", [(1.0, 1.0)]),
        Curve("flat", [(float(i), 0.0) for i in range(5)]),
        Curve("huge", [(1.0, 1e300), (2.0, -1e300), (3.0, 1.0)]),
        Curve("held out only", [], [(1.0, 2.0)]),
        Curve("same place", [(1.0, 2.0), (1.0, 3.0)], breaks=[0.0, 1.0, 7.0]),
    ],
    ids=lambda c: c.name,
)
def test_odd_curves_are_drawn_all_the_same(curve):
    assert len(plot_lines([curve], 60, 8)) == 10
    ET.fromstring(curves_svg([curve], title="t", subtitle="s"))


def test_the_picture_is_well_formed_names_every_run_and_refers_to_nothing_outside():
    names = ["<script>", "&amp;", "\x1b[31m", "\u202eevil", "a" * 200, "x", "y", "z", "ninth", "tenth"]
    curves = [falling(n, seed=i, validation=[(100.0, 3.0)] * 3) for i, n in enumerate(names)]
    picture = curves_svg(curves, title="a & b", subtitle="<c>")
    root = ET.fromstring(picture)
    words = [e.text for e in root.iter(f"{SVG}text")]
    assert {"a & b", "<script>", "&amp;", "ninth"} <= set(words)
    assert not re.search(r"href|@import|@font-face|url\((?!#plot)|http(?!://www.w3.org/2000/svg)", picture)
    assert "\u202e" not in picture
    places = sorted(float(e.get("y")) for e in root.iter(f"{SVG}text") if e.text in {*names, "␛[31m"})
    assert all(b - a > 12 for a, b in itertools.pairwise(places))


def test_a_long_run_makes_no_large_picture():
    long = Curve("a", [(float(i), 1 / (1 + i)) for i in range(50_000)], [(float(i), 0.5) for i in range(0, 50_000, 10)])
    assert len(curves_svg([long], title="t", subtitle="s")) < 60_000


def test_validations_are_joined_where_nothing_else_is_known_of_a_run():
    measured = Curve("a", (), ((0.0, 3.0), (10.0, 2.0)))
    both = Curve("a", ((0.0, 3.0), (10.0, 2.0)), ((5.0, 2.5),))
    drawn = [curves_svg([c], title="", subtitle="").count("<polyline") for c in (measured, both)]
    assert drawn == [1, 2]
    dots = sum(0x2800 < ord(sign) < 0x2900 for line in plot_lines([measured], 60, 12) for sign in line.plain)
    assert dots > 8
