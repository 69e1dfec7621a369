import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import UsageError
from llmkit.generation.stopping import StopStrings

letters = st.text(alphabet="abc", max_size=12)


def stream(pieces, stops):
    filter_ = StopStrings(stops)
    shown = [filter_.push(piece) for piece in pieces]
    return "".join(shown) + filter_.flush(), filter_.is_met


def by_character(text, stops):
    """The definition, written the slow way: look at every end, in order."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            return text[: end - max(map(len, ending))], True
    return text, False


@given(st.lists(letters, max_size=6), st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3))
def test_streamed_text_is_cut_where_the_first_stop_string_ends_whatever_the_pieces(pieces, stops):
    assert stream(pieces, stops) == by_character("".join(pieces), stops)


def test_nothing_of_a_stop_string_is_shown_before_it_is_complete():
    filter_ = StopStrings(["\nUser:"])
    assert [filter_.push(piece) for piece in ("Hi.", "\n", "Us", "er", ": go on")] == ["Hi.", "", "", "", ""]
    assert filter_.is_met
    assert filter_.flush() == ""


def test_text_that_turned_out_not_to_stop_is_shown_in_full():
    filter_ = StopStrings(["<end>"])
    assert filter_.push("a <en") == "a "
    assert filter_.push("try>") == "<entry>"


def test_text_held_back_when_the_text_ends_is_shown():
    assert stream(["almost <en"], ["<end>"]) == ("almost <en", False)


def test_text_after_the_stop_is_never_shown():
    filter_ = StopStrings(["."])
    assert filter_.push("one. two") == "one"
    assert filter_.push(" three") == ""
    assert filter_.flush() == ""


def test_an_empty_stop_string_is_refused():
    with pytest.raises(UsageError, match="empty"):
        StopStrings([""])
