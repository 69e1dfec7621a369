"""Lines that fit a terminal."""

import pytest

from llmkit.render.lines import Field, fitting, wrapped


def test_the_least_important_fields_go_first_and_the_order_stays():
    fields = [Field("aaaa", 0), Field("bbbb", 3), Field("cccc", 1), Field("dddd", 2)]
    shown = {columns: " ".join(f.text[0] for f in fitting(fields, columns)) for columns in (22, 21, 15, 9, 1)}
    assert shown == {22: "a b c d", 21: "a c d", 15: "a c", 9: "a", 1: "a"}


@pytest.mark.parametrize("columns", [10, 20, 40])
def test_lines_break_between_words_and_long_words_stay_whole(columns):
    text = "validation: 30 rows, 5 labels (angry 17%) in /a/rather/long/path/that-goes/on\nnext"
    lines = wrapped(text, columns).split("\n")
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= columns or " " not in line for line in lines)


def test_what_fits_is_left_alone():
    assert wrapped("  a   b\n", 10) == "  a   b\n"
