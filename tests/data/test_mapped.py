import os
import re
from pathlib import Path

import numpy as np
import pytest

from llmkit.data.lengths import count_longer, in_pieces
from llmkit.data.mapped import let_go, mapped, stowed
from llmkit.errors import StorageError


def blocks(n, size):
    return ((np.arange(at, at + size), np.full(size, at // size)) for at in range(0, n * size, size))


def file_pages():
    """Bytes of files in this process's memory."""
    found = re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize("on_disk", [True, False])
def test_columns_come_back_as_they_were_made_and_leave_no_file(tmp_path, on_disk):
    a, b = stowed(blocks(5, 7), ["int32", "int64"], tmp_path if on_disk else None)
    assert (a.dtype, b.dtype) == (np.int32, np.int64)
    assert a.tolist() == list(range(35))
    assert b.tolist() == [i // 7 for i in range(35)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("on_disk", [True, False])
def test_no_blocks_are_no_numbers(tmp_path, on_disk):
    columns = stowed(iter(()), ["int32", "int64"], tmp_path if on_disk else None)
    assert [(c.tolist(), c.dtype) for c in columns] == [([], np.int32), ([], np.int64)]


def test_a_place_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(dir):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(StorageError, match=re.escape(f"cannot note in {tmp_path} where examples begin: no space left")):
        stowed(blocks(1, 1), ["int32", "int32"], tmp_path)


def test_a_cache_that_was_cleared_meanwhile_does_no_harm(tmp_path):
    (column,) = stowed(iter([[np.arange(3)]]), ["int32"], tmp_path / "gone")
    assert column.tolist() == [0, 1, 2]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much of a file is in memory")
def test_pages_that_were_read_are_given_back_and_read_again(tmp_path):
    path = tmp_path / "numbers.bin"
    path.write_bytes(np.arange(4_000_000).tobytes())
    numbers, total = mapped(path, "int64"), 4_000_000 * 3_999_999 // 2
    before = file_pages()
    assert int(numbers.sum()) == total
    assert file_pages() - before > 25e6
    let_go()
    assert file_pages() - before < 5e6
    os.unlink(path)
    assert int(numbers.sum()) == total


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much of a file is in memory")
def test_a_large_text_is_measured_in_little_memory(tmp_path):
    path = tmp_path / "starts.bin"
    path.write_bytes((10 * np.arange(4_000_001)).tobytes())
    starts, before = mapped(path, "int64"), file_pages()
    assert count_longer(starts, 9) == 4_000_000
    assert count_longer(starts, 10) == 0
    assert sum(len(piece) - 1 for piece in in_pieces(starts)) == 4_000_000
    assert file_pages() - before < 10e6
