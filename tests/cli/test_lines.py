import os
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.cli import lines
from llmkit.data.text_in import STDIN
from llmkit.errors import InputRefused


def through_pipe(monkeypatch, writes, size=100, pause=0.0):
    """What `windows` makes of `writes` that arrive in a pipe."""
    reading, writing = os.pipe()

    def write():
        for data in writes:
            os.write(writing, data)
            time.sleep(pause)
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    monkeypatch.setattr("sys.stdin", os.fdopen(reading))
    try:
        return list(lines.windows(STDIN, size))
    finally:
        thread.join()


def flat(groups):
    return [line for group in groups for line in group]


@given(st.text(alphabet="ab\né", max_size=40), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_lines_from_a_pipe_are_those_of_the_text_in_order_whatever_the_group_size(text, size):
    with pytest.MonkeyPatch.context() as monkeypatch:
        groups = through_pipe(monkeypatch, [text.encode()] if text else [], size)
    expected = text.split("\n")
    expected = expected[:-1] if expected[-1] == "" else expected
    assert flat(groups) == list(enumerate(expected, 1))
    assert all(1 <= len(group) <= size for group in groups)


def test_a_slow_writer_gets_its_lines_answered_one_by_one(monkeypatch):
    groups = through_pipe(monkeypatch, [b"one\n", b"two\nthr", b"ee\n"], pause=0.15)
    assert groups == [[(1, "one")], [(2, "two")], [(3, "three")]]


def test_a_fast_writer_gets_full_groups(monkeypatch):
    groups = through_pipe(monkeypatch, [b"x\n" * 1000], size=256)
    assert [len(group) for group in groups] == [256, 256, 256, 232]


def test_windows_line_ends_and_a_byte_order_mark_are_dropped(monkeypatch):
    assert flat(through_pipe(monkeypatch, ["\ufeffone\r\ntwo\r\n".encode()])) == [(1, "one"), (2, "two")]


def test_bytes_that_are_not_utf8_are_refused_by_line(monkeypatch):
    with pytest.raises(InputRefused, match="line 2, byte 1"):
        through_pipe(monkeypatch, [b"fine\na\xff\n"])


def test_lines_before_a_bad_one_come_first_from_a_pipe_and_from_a_file(monkeypatch, tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n\xff\nfour\n")
    os.close(writing)
    (tmp_path / "file").write_bytes(b"one\ntwo\n\xff\nfour\n")
    with os.fdopen(reading) as pipe:
        monkeypatch.setattr("sys.stdin", pipe)
        for path in (STDIN, tmp_path / "file"):
            groups = lines.windows(path, 100)
            assert next(groups) == [(1, "one"), (2, "two")]
            with pytest.raises(InputRefused, match="not valid UTF-8"):
                next(groups)


def test_a_line_without_end_is_refused_before_memory_is_full(monkeypatch):
    monkeypatch.setattr(lines, "MAX_RECORD", 10)
    with pytest.raises(InputRefused, match="line 2 is longer"):
        through_pipe(monkeypatch, [b"short\n", b"x" * 11])


def test_files_are_read_in_full_groups(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("a\nb\nc")
    assert list(lines.windows(file, 2)) == [[(1, "a"), (2, "b")], [(3, "c")]]


@pytest.mark.parametrize(
    "command",
    [
        ("tokenize", "--count", "-t", "gpt", "{file}"), ("tokenize", "--errors", "replace", "-t", "gpt"),
        ("tokenize", "-t", "gpt", "--jsonl"), ("evaluate", "-m", "gpt"), ("predict", "fill-mask", "-m", "bert"),
        ("predict", "fill-mask", "-m", "bert", "--jsonl", "{file}"), ("generate", "-m", "gpt", "--prompt", "-"),
        ("inspect", "gpt", "--text", "-"),
    ],
)  # fmt: skip
def test_a_parquet_file_is_refused_in_one_line_with_the_way_out_wherever_text_is_read(llmkit, tmp_path, command):
    table = b"PAR1\x15\x04\x15\x10\xff\xfe\x00abc\nPAR1"
    file = tmp_path / "rows.parquet"
    file.write_bytes(table)
    run = llmkit(*(word.format(file=file, out=tmp_path / "out") for word in command), stdin=table)
    assert run.code == 4
    assert " is a Parquet file, not UTF-8 text" in run.err
    assert "to_json" in run.err
    assert not run.out
