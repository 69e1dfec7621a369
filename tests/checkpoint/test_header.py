"""Headers from strangers: whatever is accepted is what the safetensors library accepts, and the rest is one line."""

import json
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from llmkit.checkpoint.header import parse_header, read_header
from llmkit.errors import InputRefused, StorageError


def f32(start, end, shape=None):
    return {"dtype": "F32", "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


def raw(text, data=b"\0" * 8):
    body = text.encode() if isinstance(text, str) else text
    return len(body).to_bytes(8, "little") + body + data


ONE = '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
HOSTILE = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "text": b"hello, this is no tensor file at all",
    "header length of 2**63": (2**63).to_bytes(8, "little") + b"{}",
    "header length of 100 MB": (100_000_000).to_bytes(8, "little") + b"{}",
    "header longer than the file": (5000).to_bytes(8, "little") + b"{}",
    "header of length 0": (0).to_bytes(8, "little"),
    "leading space": raw(" " + ONE),
    "byte order mark": raw("\ufeff" + ONE),
    "array": raw("[1,2]"),
    "unfinished": raw(ONE[:-1]),
    "trailing text": raw(ONE + "x"),
    "not UTF-8": raw(ONE.replace("a", "\xff").encode("latin-1")),
    "duplicate tensor": raw('{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' + ONE[1:]),
    "duplicate inner key": raw('{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    "escape in a name": raw(ONE.replace("a", "\\u001b[2J", 1)),
    "bidi override in a name": raw(ONE.replace("a", "\u202e", 1)),
    "lone surrogate in a name": raw(ONE.replace("a", "\\ud800", 1)),
    "empty name": raw(ONE.replace("a", "", 1)),
    "name of 513": raw(ONE.replace("a", "a" * 513, 1)),
    "unknown dtype": raw(ONE.replace("F32", "F33")),
    "dtype as a number": raw(ONE.replace('"F32"', "32")),
    "negative dimension": raw(ONE.replace("[2]", "[-2]")),
    "two negative dimensions": raw(ONE.replace("[2]", "[-1,-2]")),
    "dimension as text": raw(ONE.replace("[2]", '["2"]')),
    "dimension true": raw(ONE.replace("[2]", "[true,2]")),
    "fraction": raw(ONE.replace("[2]", "[2.0]")),
    "rank of 17": raw(ONE.replace("[2]", str([1] * 16 + [2]))),
    "product over 2**64": raw(ONE.replace("[2]", "[4294967296,4294967296,4]")),
    "size not dtype times shape": raw(ONE.replace("[2]", "[3]")),
    "offsets reversed": raw(ONE.replace("[0,8]", "[8,0]")),
    "three offsets": raw(ONE.replace("[0,8]", "[0,4,8]")),
    "hole at the start": raw(ONE.replace("[0,8]", "[4,12]"), b"\0" * 12),
    "hole between": raw(json.dumps({"a": f32(0, 4), "b": f32(8, 12)}), b"\0" * 12),
    "overlap": raw(json.dumps({"a": f32(0, 8), "b": f32(4, 12)}), b"\0" * 12),
    "same bytes twice": raw(json.dumps({"a": f32(0, 8), "b": f32(0, 8)})),
    "cut short": raw(ONE, b"\0" * 7),
    "bytes left over": raw(ONE, b"\0" * 9),
    "metadata with a number": raw('{"__metadata__":{"a":1}}', b""),
    "metadata a list": raw('{"__metadata__":[]}', b""),
    "extra key": raw(ONE.replace('"dtype"', '"x":1,"dtype"')),
    "missing key": raw('{"a":{"dtype":"F32","shape":[2]}}'),
    "tensor is null": raw('{"a":null}'),
    "NaN": raw(ONE.replace("[2]", "[NaN]")),
    "number of 5000 digits": raw(ONE.replace("[2]", f"[{'9' * 5000}]")),
    "100,001 tensors": raw(json.dumps({f"t{i}": f32(0, 0) for i in range(100_001)}), b""),
    "300,000 brackets": raw("{" + '"a":[' * 300_000),
    "16 MiB of brackets": raw(b'{"a":' + b"[" * (16 * 2**20 - 8)),
    "8 million empty lists": raw(b'{"a":[' + b"[]," * (5 * 2**20) + b"[]]}"),
    "backslash at the end": raw('{"' + "\\" * 99_999),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_header_is_one_line_of_refusal_within_a_second(kind, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[kind])
    start = time.process_time()
    with pytest.raises(InputRefused) as refusal:
        read_header(path)
    assert time.process_time() - start < 1
    assert str(path) in refusal.value.message
    assert "\n" not in refusal.value.message
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 400


def test_header_agrees_with_the_library_that_wrote_it(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {
        "w": torch.randn(3, 5),
        "half": torch.randn(7).bfloat16(),
        "n": torch.tensor(3),
        "none": torch.empty(0, 4),
        "mask": torch.tensor([True, False, True]),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_header(path)
    assert header.metadata == {"format": "pt"}
    assert {name: i.shape for name, i in header.tensors.items()} == {k: tuple(v.shape) for k, v in tensors.items()}
    assert {n: i.dtype for n, i in header.tensors.items()} == {
        "w": "F32", "half": "BF16", "n": "I64", "none": "F32", "mask": "BOOL",
    }  # fmt: skip
    assert header.data_start + max(i.end for i in header.tensors.values()) == path.stat().st_size


@pytest.mark.parametrize("kind", ["directory", "pipe", "link", "missing"])
def test_what_is_not_a_regular_file_is_refused_without_waiting(kind, tmp_path, make_file):
    path = tmp_path / "model.safetensors"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        import os

        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "real").write_bytes(make_file({"a": f32(0, 8)}, b"\0" * 8))
        path.symlink_to("real")
    with pytest.raises(StorageError if kind == "missing" else InputRefused):
        read_header(path)


def test_thousands_of_tensors_are_read_in_a_moment(tmp_path, make_file):
    header = {f"model.layers.{i}.weight": f32(4 * i, 4 * i + 4) for i in range(20_000)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(make_file(header, b"\0" * 80_000))
    start = time.process_time()
    assert len(read_header(path).tensors) == 20_000
    assert time.process_time() - start < 2  # about 0.2 s; a real model has a few hundred tensors


entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "U8", "I64", "X", "BOOL"]),
        "shape": st.lists(st.integers(-1, 4), max_size=3),
        "data_offsets": st.lists(st.integers(-2, 40), min_size=2, max_size=2),
    }
)
valid = st.lists(st.tuples(st.sampled_from(["F32", "BF16", "U8"]), st.lists(st.integers(0, 3), max_size=3)), max_size=4)


def laid_out(specs):
    header, end = {}, 0
    for i, (dtype, shape) in enumerate(specs):
        start, end = end, end + {"F32": 4, "BF16": 2, "U8": 1}[dtype] * int(torch.tensor(shape or [1]).prod())
        header[f"t{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    return header, end


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        valid.map(laid_out), st.tuples(st.dictionaries(st.text(max_size=3), entries, max_size=3), st.integers(0, 40))
    )
)
def test_what_we_accept_the_safetensors_library_accepts(tmp_path_factory, case):
    header, size = case
    text = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("fuzz") / "m.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * size)
    try:
        ours = read_header(path)
    except InputRefused:
        return
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == set(ours.tensors)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 255))
def test_a_damaged_header_raises_nothing_but_our_refusal(junk, place, byte):
    text = bytearray(ONE.encode())
    text[place % len(text)] = byte
    for candidate in (bytes(text), bytes(text) + junk, b"{" + junk):
        try:
            parse_header(candidate, 8, "x")
        except InputRefused:
            continue
