"""No text from outside can control the terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from llmkit.render.safe_text import safe_line, safe_text

ANY_TEXT = st.text(st.characters())  # lone surrogates included


@given(ANY_TEXT)
def test_nothing_that_moves_hides_or_reorders_survives(text):
    shown = safe_text(text)
    for character in shown:
        if character not in "\n\t":
            assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), hex(ord(character))
    assert not set(shown) & {
        "\u202a",
        "\u202b",
        "\u202d",
        "\u202e",
        "\u2066",
        "\u2067",
        "\u2068",
        "\u2069",
        "\u200f",
        "\ufeff",
    }


@given(ANY_TEXT)
def test_safe_text_is_idempotent_and_safe_line_is_one_line(text):
    assert safe_text(safe_text(text)) == safe_text(text)
    assert "\n" not in safe_line(text)
    assert "\t" not in safe_line(text)


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_is_untouched(text):
    assert safe_text(text) == text


def test_known_attacks_become_visible():
    assert safe_text("\x1b[2J") == "␛[2J"
    assert safe_text("\x9b31m") == "\\x9b31m"
    assert safe_text("a\u202eb") == "a\\u202eb"
    assert safe_text("\x7f\x00\r") == "␡␀␍"
