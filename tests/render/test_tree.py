import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from llmkit.render.links import Link, link_lines
from llmkit.render.table import Column, table_lines
from llmkit.render.tree import Branch, fit, tree_lines

COLUMNS = ("shape", "params", "share", "bar", "bytes", "dtype", "note")
ANY = st.text(st.characters(exclude_categories=()), max_size=30)


def branches(depth):
    cells = st.fixed_dictionaries({}, optional=dict.fromkeys(("shape", "params", "share", "note", "times"), ANY))
    below = st.just(()) if depth == 0 else st.lists(branches(depth - 1), max_size=3)
    return st.builds(Branch, ANY, cells, st.none() | st.floats(0, 1), st.booleans(), below)


@settings(max_examples=60, deadline=None)
@given(roots=st.lists(branches(2), max_size=4), width=st.integers(20, 200), depth=st.integers(1, 4))
def test_trees_fit_and_stay_on_their_lines(roots, width, depth):
    for line in tree_lines(roots, COLUMNS, width, depth):
        assert cell_len(line.plain) <= width
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line.plain)


def test_depth_cuts_the_tree():
    root = Branch("a", {}, children=(Branch("b", {}, children=(Branch("c", {}),)),))
    assert [len(tree_lines([root], COLUMNS, 80, depth)) for depth in (1, 2, 3)] == [1, 2, 3]


def test_words_stand_where_bars_are_missing():
    lines = tree_lines(
        [Branch("a", {"params": "5"}, 0.5), Branch("b", {"params": "5", "note": "rope"})], COLUMNS, 80, 1
    )
    assert lines[0].plain.index("█") == lines[1].plain.index("rope")


@pytest.mark.parametrize(
    ("text", "columns", "cut"), [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("好好", 3, "好…"), ("a", 0, "")]
)
def test_fit_cuts_by_columns(text, columns, cut):
    assert fit(text, columns) == cut


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(ANY, ANY, ANY), max_size=5), width=st.integers(20, 120))
def test_tables_fit_and_keep_their_first_column(rows, width):
    lines = table_lines([Column("name"), Column("x", True, 3), Column("y", keep=7)], rows, width)
    assert len(lines) == len(rows) + 1
    assert lines[0].plain.startswith("name")
    for line in lines:
        assert cell_len(line.plain) <= width
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line.plain)


@settings(max_examples=60, deadline=None)
@given(
    links=st.lists(
        st.builds(Link, ANY, st.integers(0, 999), ANY, st.integers(0, 999), st.floats(0, 1), st.just("L1.h2"))
    ),
    width=st.integers(40, 200),
)
def test_links_fit_and_say_their_weight(links, width):
    lines = link_lines(links, width)
    assert len(lines) == len(links)
    for line, link in zip(lines, links, strict=True):
        assert cell_len(line.plain) <= width
        assert f"{link.weight:.2f}" in line.plain
        assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line.plain)
