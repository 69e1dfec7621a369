import re

from hypothesis import example, given
from hypothesis import strategies as st

from llmkit.data.mirror import mirrored, unmirrored
from llmkit.data.stories import stories

WORDS = st.text(alphabet="abXYZ é'’-_.,\"! \n7ß\u0130", max_size=60) | st.text(max_size=30)


@given(WORDS)
@example("Tom lost his red kite, and cried.")
@example("a 'b c' d-e f's")
def test_every_text_comes_back(text):
    assert unmirrored(mirrored(text)) == text
    assert len(mirrored(text)) == len(text)


def test_a_word_has_one_translation_wherever_it_stands():
    for story in stories(50):
        for sentence in story.sentences:
            words = re.findall(r"[\w'-]+", sentence)
            assert sorted(re.findall(r"[\w'-]+", mirrored(sentence))) == sorted(map(mirrored, words))


def test_words_cross_within_a_run_and_marks_stay_where_they_are():
    assert mirrored("Tom lost his red kite, and cried.") == "gobi sil mon danb Baw, zsoil erl."
    assert [mirrored(word) for word in ("kite", "red", "his", "lost", "Tom")] == ["gobi", "sil", "mon", "danb", "Baw"]
