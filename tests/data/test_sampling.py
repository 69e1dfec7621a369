import pytest

from llmkit.data.sampling import sampled
from llmkit.data.sources import open_source


def test_a_sample_has_the_size_asked_for_and_is_spread_over_all_of_the_text():
    source = open_source("stories", stories=2000)
    documents, share = sampled(source, 88_000)
    found = list(documents)
    assert share == pytest.approx(0.1, rel=0.01)
    assert sum(map(len, found)) == pytest.approx(88_000, rel=0.1)
    everything = list(source.documents())
    places = [everything.index(text) for text in found]
    assert places == sorted(places)
    assert all(any(lo <= place < lo + 500 for place in places) for lo in range(0, 2000, 500))
    assert list(sampled(source, 88_000)[0]) == found


def test_what_is_small_is_taken_whole():
    source = open_source("stories", stories=10)
    documents, share = sampled(source)
    assert (list(documents), share) == (list(source.documents()), 1.0)
