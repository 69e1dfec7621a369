import gzip
import io
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.data.text_in import CHUNK, MAX_RECORD, STDIN, is_read_once, text_chunks, text_lines
from llmkit.errors import InputRefused, StorageError, UsageError

TEXT = "Grüße, 世界! 👋\r\nline two\n\nend" * 5


def read(path, errors="strict"):
    return "".join(text_chunks(path, errors))


def packed(path, data):
    if path.suffix == ".gz":
        return gzip.compress(data)
    if path.suffix == ".zst":
        return pytest.importorskip("zstandard").ZstdCompressor().compress(data)
    return data


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst", "packed_but_named_otherwise.gz"])
def test_text_comes_out_as_it_was_written(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(packed(path, TEXT.encode()))
    assert read(path) == TEXT


def test_several_frames_are_one_text_and_a_cut_frame_is_noticed(tmp_path):
    compress = pytest.importorskip("zstandard").ZstdCompressor().compress
    path = tmp_path / "a.zst"
    path.write_bytes(compress(TEXT.encode() * 5000) + compress(b"") + compress(b"end"))
    assert read(path) == TEXT * 5000 + "end"
    for cut in (1, 20, 40):
        path.write_bytes(compress(TEXT.encode() * 5000)[:-cut])
        with pytest.raises(InputRefused, match="corrupt zstd"):
            read(path)


def test_a_packed_file_is_known_by_its_bytes_not_its_name(tmp_path):
    path = tmp_path / "plain.txt"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert read(path) == TEXT


@pytest.mark.parametrize("shift", range(4))
def test_characters_that_straddle_chunks_survive(tmp_path, shift):
    text = "x" * (CHUNK - shift) + "👋" * 3
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    assert read(path) == text


@pytest.mark.parametrize("offset", [0, 5, CHUNK - 1, CHUNK, 2 * CHUNK + 77])
def test_the_first_invalid_byte_is_named_exactly(tmp_path, offset):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a" * offset + b"\xff" + b"b" * 50)
    with pytest.raises(InputRefused, match=rf"byte {offset} \(0xff\)"):
        read(path)
    assert read(path, "replace") == "a" * offset + "\ufffd" + "b" * 50


def test_a_character_cut_off_at_the_end_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("ab👋".encode()[:-1])
    with pytest.raises(InputRefused, match="byte 2 "):
        read(path)


@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_one_clear_refusal(data):
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"llmkit-any-{os.getpid()}"
    path.write_bytes(data)
    refused = None
    try:
        assert read(path).encode() == data.removeprefix(b"\xef\xbb\xbf")
    except InputRefused as e:
        refused = e
    finally:
        path.unlink()
    assert refused is None or "\n" not in refused.message


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"ab\0cd", "byte 2 is NUL"),
        ("abc".encode("utf-16"), "UTF-16"),
        (b"PAR1....", "Parquet"),
        (gzip.compress(b"hello" * 1000, mtime=0)[:-12], "corrupt gzip"),
        (gzip.compress(b"hello" * 1000, mtime=0)[:20] + b"????" * 9, "corrupt gzip"),
        (b"\x28\xb5\x2f\xfd????????????", "corrupt zstd"),
        (b"\x28\xb5\x2f\xfd", "corrupt zstd"),
    ],
)
def test_what_is_not_text_is_refused_in_one_line(tmp_path, data, says):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(InputRefused, match=says) as e:
        read(path)
    assert str(path) in e.value.message


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path):
    with pytest.raises(StorageError, match="no such file"):
        read(tmp_path / "none.txt")
    with pytest.raises(InputRefused, match="is a directory"):
        read(tmp_path)
    for odd in ("a\0b", "x" * 5000):
        with pytest.raises(StorageError, match=r"cannot read|no such file"):
            read(Path(odd))


def test_zstd_without_its_package_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "a.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd????????????")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UsageError) as e:
        read(path)
    assert "llmkit[zstd]" in e.value.hint


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfhello")
    assert read(path) == "hello"


def test_lines_are_numbered_and_lose_only_their_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\r\n\nb\rc\nlast")
    assert list(text_lines(path)) == [(1, "a"), (2, ""), (3, "b\rc"), (4, "last")]


def test_a_line_without_end_is_refused_before_memory_is(tmp_path, monkeypatch):
    monkeypatch.setattr("llmkit.data.text_in.MAX_RECORD", 1000)
    path = tmp_path / "a.jsonl"
    path.write_text("ok\n" + "x" * 2000)
    with pytest.raises(InputRefused, match="line 2 is longer"):
        list(text_lines(path))
    assert MAX_RECORD >= 1 << 24


def test_stdin_and_pipes_are_read_as_files_are(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(TEXT.encode()))))
    assert read(STDIN) == TEXT
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(TEXT.encode()))
    writer.start()
    assert read(pipe) == TEXT
    writer.join()


def test_memory_stays_flat_for_one_enormous_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"abcdefg " * (3 << 20))
    tracemalloc.start()
    assert sum(len(chunk) for chunk in text_chunks(path)) == 8 * (3 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_stdin_and_pipes_are_known_to_be_read_once(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    os.mkfifo(tmp_path / "pipe")
    assert [is_read_once(name) for name in ("-", tmp_path / "pipe", "/dev/null")] == [True] * 3
    assert [is_read_once(name) for name in (tmp_path / "a.txt", tmp_path, "nothing*.txt", "stories")] == [False] * 4
