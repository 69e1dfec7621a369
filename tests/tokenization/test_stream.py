"""Records and running text out of blocks of bytes, however the blocks fall."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import InputRefused, LlmkitError, UsageError
from llmkit.tokenization import stream
from llmkit.tokenization.cuts import safe_cut, slices

lines = st.text(st.sampled_from("ab é東🙂\n\n \t\r\0'"))


def blocks(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def joined(batches) -> str:
    return "".join(p.text + ("\n" if p.newline else "") for batch in batches for p in batch)


@given(text=lines, size=st.integers(1, 7), most=st.integers(1, 9))
def test_records_joined_are_the_input(text, size, most):
    old, stream.MAX_PART = stream.MAX_PART, most
    try:
        batches = list(stream.records(stream.decoded(blocks(text.encode(), size), "x")))
    finally:
        stream.MAX_PART = old
    assert joined(batches) == text
    parts = [part for batch in batches for part in batch]
    assert sum(part.last for part in parts) == text.count("\n") + (not text.endswith("\n") and text != "")
    assert all(part.last for part in parts if part.newline)


@given(text=lines, size=st.integers(1, 7))
def test_whole_records_are_the_lines(text, size):
    batches = stream.whole(stream.records(stream.decoded(blocks(text.encode(), size), "x")), "x")
    records = [part.text for batch in batches for part in batch]
    assert records == text.removesuffix("\n").split("\n") * bool(text)


@given(text=lines, size=st.integers(1, 40))
def test_slices_encode_to_the_same_ids(bpe, text, size):
    text = f"word {text} word"
    cut = safe_cut(text, 0, len(text))
    assert bpe.encode(text[:cut]) + bpe.encode(text[cut:]) == bpe.encode(text)
    assert "".join(slices([text], size)) == text


def test_running_text_is_never_held_as_a_whole(monkeypatch):
    monkeypatch.setattr(stream, "MAX_PART", 1000)
    texts = ["some words " * 20 for _ in range(100)] + ["x" * 5000]
    parts = list(stream.running(texts))
    assert "".join(parts) == "".join(texts)
    assert max(map(len, parts)) <= 6000


def test_a_line_comes_out_before_the_next_one_is_there():
    def slow():
        yield "one\ntw"
        pytest.fail("asked for more input while a line was waiting")

    assert next(stream.records(slow())) == [stream.Part("one", True, True)]


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("data", "offset"), [(b"ab\xff", 2), (b"\xc3", 0), ("é".encode() * 50 + b"\xe2\x82", 100)])
def test_bad_utf8_is_refused_at_its_offset_or_replaced(data, offset, size):
    with pytest.raises(InputRefused, match=rf"x: byte {offset} \(0x.. ?\) is not valid UTF-8".replace(" ?", "")):
        list(stream.decoded(blocks(data, size), "x"))
    assert "".join(stream.decoded(blocks(data, size), "x", "replace")) == data.decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 x3", "x:2: 'x' is not a token id"),
        ("-1", "'-'"),
        ("1_0", "'_'"),
        ("٣", "'٣'"),
        ("9" * 5000, "far too long"),
    ],
)
def test_what_is_no_id_is_named_with_its_line(line, message):
    with pytest.raises(InputRefused, match=message):
        list(stream.id_lists([[stream.Part("1", True, True), stream.Part(line, True, True)]], "x", lambda *_: None))


def test_what_comes_before_a_bad_record_comes_out_first(monkeypatch):
    def good(batches):
        found = []
        try:
            for batch in batches:
                found += batch
        except LlmkitError as refused:
            return found, refused
        return found, None

    batch = [stream.Part(line, True, True) for line in ('{"text": "a"}', "", '{"text": "b"}', '{"text": 3}')]
    found, refused = good(stream.fields([batch], "x", "text"))
    assert [part.text for part in found] == ["a", "b"]
    assert refused.message.startswith("x:4: ")

    def check(ids, where):
        if 9 in ids:
            raise InputRefused(f"{where}: id 9")

    batch = [stream.Part(line, True, True) for line in ("1 2", "3", "4 9", "5")]
    found, refused = good(stream.id_lists([batch], "x", check))
    assert ([ids for ids, _ in found], refused.message) == ([[1, 2], [3]], "x:3: id 9")
    batch = [stream.Part(line, True, True) for line in ('{"ids": [1]}', "", '{"ids": [9]}')]
    found, refused = good(stream.json_id_lists([batch], "x", check))
    assert ([ids for ids, _ in found], refused.message) == ([[1]], "x:3: id 9")
    found, refused = good(stream.records(stream.decoded([b"one\ntwo\nth\xffree\n"], "x")))
    assert [part.text for part in found] == ["one", "two"]
    monkeypatch.setattr(stream, "MAX_RECORD", 10)
    found, refused = good(stream.whole(stream.records(["short\n" + "x" * 11 + "\n"]), "x"))
    assert [part.text for part in found] == ["short"]


def test_a_field_missing_from_the_start_is_wrong_use_and_later_a_bad_record():
    first, later = ([stream.Part(line, True, True) for line in ('{"a": "x"}', '{"b": "x"}')] for _ in range(2))
    with pytest.raises(UsageError, match="x:1: no field 'b'"):
        list(stream.fields([first], "x", "b"))
    with pytest.raises(InputRefused, match="x:2: no field 'a'"):
        list(stream.fields([later], "x", "a"))


def test_a_record_too_long_to_hold_is_refused(monkeypatch):
    monkeypatch.setattr(stream, "MAX_RECORD", 10)
    with pytest.raises(InputRefused, match="longer than 10 characters"):
        list(stream.whole(stream.records(["a" * 8, "b" * 8]), "x"))
