import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.training.objectives import chop as module
from llmkit.training.objectives.chop import chop


def one_by_one(sentences, documents, room, within_documents):
    rows = []
    first = int(documents[0])
    for end in documents[1:] if within_documents else documents[-1:]:
        while first < end:
            last = first
            while last < end and sentences[last + 1] - sentences[first] <= room:
                last += 1
            if last > first:
                rows.append((first, last, sentences[first], sentences[last] - sentences[first]))
                first = last
                continue
            stop = sentences[first + 1]
            rows += [(first, first + 1, at, min(room, stop - at)) for at in range(sentences[first], stop, room)]
            first += 1
    return rows


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=6), min_size=1, max_size=8),
    st.integers(1, 25),
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from([1, 3, 1 << 17]),
)
def test_windows_are_filled_sentence_by_sentence_in_blocks_of_any_size(lengths, room, within, least, block):
    sentences = np.cumsum([0, *(n for document in lengths for n in document)])
    documents = np.cumsum([0, *map(len, lengths)])
    before, module._BLOCK = module._BLOCK, block
    try:
        found = chop(sentences, documents, room, within_documents=within, least=least)
    finally:
        module._BLOCK = before
    expected = [row for row in one_by_one(sentences, documents, room, within) if row[3] >= least]
    assert list(zip(*(column.tolist() for column in found), strict=True)) == expected


def test_large_texts_are_chopped_in_little_memory_and_time():
    sentences = np.arange(0, 10**7 + 1, 10)
    found = chop(sentences, np.array([0, 10**6]), 126, within_documents=False)
    assert sum(column.nbytes for column in found) == 16 * len(found[0])
    assert int(found[3].sum()) == 10**7
