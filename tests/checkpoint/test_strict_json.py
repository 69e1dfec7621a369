import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.checkpoint.strict_json import parse_object
from llmkit.errors import InputRefused

plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**39), 2**39), st.floats(allow_nan=False, allow_infinity=False))
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), plain, max_size=4))
def test_ordinary_json_comes_back_as_it_was(value):
    assert parse_object(json.dumps(value).encode(), "x") == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "1",
        "{",
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e999}',
        '{"a":1000000000000}',
        '{"a":-1000000000000}',
        '{"a":' + "9" * 100_000 + "}",
        '{"a":' + "[" * 33 + "]" * 33 + "}",
        '{"a":' * 100_000,
        "[" * 1_000_000,
        '{"' + '\\"[' * 100_000,
    ],
)
def test_hostile_json_is_refused_in_one_short_line_at_once(text):
    start = time.process_time()
    with pytest.raises(InputRefused, match="config") as refusal:
        parse_object(text.encode(), "config")
    assert time.process_time() - start < 1
    assert len(refusal.value.message) < 200


def test_depth_counts_brackets_but_not_those_in_text():
    assert parse_object(b'{"a":"' + b"[" * 100 + b'\\"{{"}', "x") == {"a": "[" * 100 + '"{{'}
    nested = b'{"a":' + b"[" * 31 + b"]" * 31 + b"}"
    assert parse_object(nested, "x")


def test_not_utf8_is_refused_with_the_byte():
    with pytest.raises(InputRefused, match="byte 6"):
        parse_object(b'{"a":"\xff"}', "x")
