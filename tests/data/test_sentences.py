from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.sentences import sentence_segments, sentence_spans, split_sentences
from llmkit.data.stories import stories


@pytest.mark.parametrize(
    "text",
    [
        "One ends.|Another begins.|It does!",
        "Mr. and Mrs. Dashwood met Dr. J. R. Smith in St. Ives.|They left at 5 p.m. on Monday.",
        "It cost 3.50 dollars, i.e. a lot.|See Fig. 3 and No. 7 for more.",
        '"Where is my kite?" she asked.|"Here!" cried Tom.|"It was in the tree."',
        '"Who are you?" Tom asked.|"A friend," said she.',
        '"I did it!" the old man shouted.|Then everyone clapped.',
        "Wait... no.|Yes...|But why?!|Because.",
        "“Is it so?” he said.|“It is.”|He left.",
        "He works for Acme Inc.|She does not.",
        "It was I.|He knew.",
        "(He was late.)|She was not.",
        "No end",
        "A heading\n\n|The text begins. |It goes on\nover a line break.",
        "U.S. troops moved in.|They came at 9 a.m.|Nobody saw them.",
    ],
)
def test_sentences_end_where_a_reader_would_say_so(text):
    expected = [part.strip() for part in text.split("|")]
    joined = "".join(part if part.endswith(("\n", " ")) else part + " " for part in text.split("|"))
    assert split_sentences(joined) == expected


@given(st.text(alphabet="Aab .!?\"'\n…“”)é1", max_size=200))
def test_segments_joined_are_the_text_and_spans_are_ordered(text):
    assert "".join(sentence_segments(text)) == text
    spans = sentence_spans(text)
    assert all(a < b for a, b in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    assert "".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split())


def test_stories_split_into_the_sentences_they_were_told_in():
    told = [(split_sentences(s.text), list(s.sentences)) for s in stories(1500, 4)]
    assert sum(found == expected for found, expected in told) / len(told) > 0.99
