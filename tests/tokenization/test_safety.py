"""Tokenizer files made by someone who means harm."""

import json
import re

import pytest

from llmkit.errors import InputRefused
from llmkit.tokenization.safety import KNOWN_PATTERNS
from llmkit.tokenization.tokenizer import Tokenizer

SLOW_PATTERNS = ["(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*a){20}", "([a-z]+)*$", "(x+x+)+y", r"(\w*)*!", "(a?){50}a{50}"]


def spec(**changes) -> dict:
    base = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
    }  # fmt: skip
    return {**base, **changes}


def model(vocab) -> dict:
    return {"type": "BPE", "vocab": vocab, "merges": []}


def added(**token) -> list[dict]:
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{**plain, **token}]


def replace(text: str, by: str) -> dict:
    return {"type": "Replace", "pattern": {"String": text}, "content": by}


def sequence(parts: list[dict]) -> dict:
    return {"type": "Sequence", "normalizers": parts}


def read(content: str | bytes | dict, tmp_path, **options) -> Tokenizer:
    path = tmp_path / "tokenizer.json"
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Tokenizer.from_file(path, **options)


def test_the_base_case_is_fine(tmp_path):
    assert read(spec(), tmp_path).encode("ab") == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a tokenizer"),
        ("{", "is not a tokenizer"),
        (b"\xff\xfe", "is not a tokenizer"),
        ("[]", "has no 'model'"),
        ("[" * 100_000, "nested too deeply"),
        ('{"model":' * 50_000, "nested too deeply"),
        (spec(model={"type": "BPE"}), "has no vocabulary"),
        (spec(model={"type": "Evil", "vocab": {}}), "is not a tokenizer"),
        (spec(model=model({"a": 0, "b": 0})), "'a' and 'b' have the same id 0"),
        (spec(model=model({"a": 0, "b": 10**9})), "'b' has id 1000000000; ids are 0 to 16777215"),
        (spec(model=model({"a": 0, "b": -1})), "has id -1"),
        (spec(model=model({"a": 0, "b": 1.5})), "has id 1.5"),
        (spec(model=model({"a": 0, "b": True})), "has id True"),
        (spec(model=model({"a" * 70_000: 0})), "at most 65,536 characters"),
        (spec(added_tokens=added(id=10**9, content="<x>")), "has id 1000000000"),
        (spec(added_tokens=added(id=0, content="<x>")), "'a' and '<x>' have the same id 0"),
        (spec(added_tokens=added(id=5, content="")), "has no content"),
        (spec(added_tokens=["x"]), "not a list of tokens"),
        ('{"model":{"vocab":{"a":0,"a":1},"type":"BPE","merges":[]}}', "'a' is there twice"),
        ('{"model":{"vocab":[["a",NaN]],"type":"Unigram"}}', "NaN is not a number"),
        (spec(model={"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0], ["a", 0.0]]}), "'a' is there twice"),
        (spec(model={"type": "Unigram", "unk_id": 9, "vocab": [["a", 0.0]]}), "is not a tokenizer"),
        (spec(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a z"]}), "is not a tokenizer"),
        (spec(normalizer=replace("", "x")), "a replacement of the empty text"),
        (spec(normalizer=replace("a", "a" * 1000)), "the normalizer makes texts over 64 times longer"),
        (spec(normalizer=sequence([replace("a", "aaaaa")] * 4)), "the normalizer makes texts over 64 times longer"),
        (spec(decoder=replace("a", "a" * 1000)), "the decoder makes texts over 64 times longer"),
        (spec(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "character map"),
        (spec(normalizer={"type": "Precompiled", "precompiled_charsmap": "????"}), "character map"),
        (spec(normalizer={"type": "Precompiled"}), "character map"),
    ],
)
def test_garbage_is_refused_with_its_reason(content, message, tmp_path):
    with pytest.raises(InputRefused, match=re.escape(message)):
        read(content, tmp_path)


@pytest.mark.parametrize("pattern", SLOW_PATTERNS)
@pytest.mark.parametrize("place", ["pre_tokenizer", "normalizer", "nested", "decoder"])
def test_unknown_patterns_are_refused_before_they_are_tried(pattern, place, tmp_path):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    replace = {"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"}
    hostile = {
        "pre_tokenizer": {"pre_tokenizer": split},
        "normalizer": {"normalizer": replace},
        "nested": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split]}},
        "decoder": {"decoder": {"type": "Sequence", "decoders": [replace]}},
    }[place]
    with pytest.raises(InputRefused, match="unknown regular expression") as caught:
        read(spec(**hostile), tmp_path)
    assert "--trust-tokenizer" in caught.value.hint


def test_a_panic_inside_the_library_becomes_one_clear_error(tmp_path, capfd):
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    trusted = read(spec(pre_tokenizer=split), tmp_path, trust=True)
    with pytest.raises(InputRefused, match="cannot encode this text"):
        trusted.encode("a" * 40 + "b")


@pytest.mark.parametrize("pattern", sorted(KNOWN_PATTERNS))
def test_known_patterns_load_and_take_long_input_in_their_stride(pattern, tmp_path):
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    tokenizer = read(spec(pre_tokenizer=split), tmp_path)
    for text in ("a" * 10_000 + "!", " " * 10_000 + "x", "'s1\r\n" * 2000, "é" * 5000 + "\n"):
        tokenizer.encode(text)
