import numpy as np

from llmkit.data import lengths
from llmkit.data.lengths import count_longer


def test_parts_are_counted_across_pieces(monkeypatch):
    starts = np.cumsum([0, *range(10)])
    for chunk in (1, 2, 3, 1 << 20):
        monkeypatch.setattr(lengths, "_CHUNK", chunk)
        assert [count_longer(starts, most) for most in (-1, 0, 4, 9)] == [10, 9, 5, 0]
    assert count_longer(np.array([0]), 1) == 0
