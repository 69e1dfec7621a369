import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data import digests
from llmkit.data.digests import count_common, digest_of, sort_digests

VALUES = st.lists(st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1]), max_size=40)


@settings(deadline=None)
@given(VALUES, VALUES, st.sampled_from([1, 2, 7, 1 << 20]))
def test_digests_are_counted_whatever_fits_into_memory(tmp_path_factory, ours, theirs, held):
    place, before = tmp_path_factory.mktemp("d"), digests.HELD
    digests.HELD = held
    try:
        for name, values in (("a", ours), ("b", theirs)):
            np.array(values, dtype=np.uint64).tofile(place / name)
        assert sort_digests(place / "a") == len(set(ours))
        assert sort_digests(place / "b") == len(set(theirs))
        assert np.fromfile(place / "a", dtype=np.uint64).tolist() == sorted(set(ours))
        assert count_common(place / "a", place / "b") == len(set(ours) & set(theirs))
    finally:
        digests.HELD = before


def test_digests_tell_documents_apart_however_they_are_fed():
    whole, parts = digest_of(b"some words"), digest_of()
    parts.update(b"some ")
    parts.update(b"words")
    assert whole.digest() == parts.digest() != digest_of(b"some word").digest()
