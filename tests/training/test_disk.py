"""Room for the checkpoints of a run."""

import pytest

from llmkit.errors import StorageError
from llmkit.training.disk import SMALL_FILES, most_at_once, refuse_full_disk


@pytest.mark.parametrize(
    ("every", "keep", "step", "kept", "most"),
    [
        (0, 3, 0, 0, 1),  # one at the end
        (4, 3, 0, 0, 3),  # after 4, 8 and 12
        (4, 2, 0, 0, 3),  # two kept while the third is written
        (5, 9, 0, 0, 3),  # after 5, 10 and 12
        (4, 2, 8, 2, 3),
        (4, 9, 8, 2, 3),
        (1, 1, 0, 0, 2),
        (12, 3, 0, 0, 1),
    ],
)
def test_checkpoints_on_the_disk_together_are_those_kept_and_one_being_written(every, keep, step, kept, most, settings):
    assert most_at_once(settings(steps=12, save_every=every, keep=keep), step, kept) == most


def test_room_is_asked_for_what_is_still_to_come(settings, tmp_path, monkeypatch):
    one = 10 << 20
    for kept, step, count in ((0, 0, 3), (2, 8, 1)):
        enough = count * (one + SMALL_FILES) + (one + SMALL_FILES) // 5
        monkeypatch.setattr("llmkit.training.disk.free_bytes", lambda path, free=enough: free)
        refuse_full_disk(tmp_path / "not" / "yet", one, settings(keep=2), step=step, kept=kept)
        monkeypatch.setattr("llmkit.training.disk.free_bytes", lambda path, free=enough - 1: free)
        with pytest.raises(StorageError, match="no room for what the run saves"):
            refuse_full_disk(tmp_path, one, settings(keep=2), step=step, kept=kept)
