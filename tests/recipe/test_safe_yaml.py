"""The YAML reader refuses what could grow, call or surprise, fast and with a line."""

import time

import pytest

from llmkit.recipe.problems import Report
from llmkit.recipe.safe_yaml import MAX_BYTES, MAX_DEPTH, Node, read_yaml, resolve_plain, split_lines

MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i}\n  <<: [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 26))
ALIAS_BOMB = "a: &a [x,x]\n" + "".join(f"b{i}: &b{i} [*a,*a]\n" for i in range(9))
BOMBS = {
    "merge keys that double": MERGE_BOMB,
    "aliases that multiply": ALIAS_BOMB,
    "a cycle": "a: &a [*a]",
    "20k open brackets": "[" * 20_000,
    "300k open brackets": "[" * 300_000,
    "open brackets at the size limit": "[" * MAX_BYTES,
    "open braces": "{" * 200_000,
    "nested dashes": "- " * 100_000,
    "nested question marks": "? " * 100_000,
    "nested indentation": "".join(" " * i + "a:\n" for i in range(600)),
    "a Python tag": "a: !!python/object/apply:os.system ['touch /tmp/pwned']",
    "a tag on a key": "!!str a: 1",
    "a directive": "%TAG ! tag:evil,2000:\n---\na: 1",
    "two documents": "a: 1\n---\nb: 2",
    "too many words": "[" + "1," * 100_000 + "]",
    "more than the size limit": "a: " + "x" * MAX_BYTES,
    "a control character": "a: \x07",
    "a tab as indentation": "a:\n\tb: 1",
    "an open quotation mark": 'a: "b',
    "a map as a key": "{a: 1}: 2",
    "a list as a key": "? [a]\n: 2",
}


def read(text):
    report = Report("x.yaml", split_lines(text))
    return read_yaml(text, report), report.problems


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_less_than_a_second(name):
    started = time.process_time()
    _, problems = read(BOMBS[name])
    assert time.process_time() - started < 1
    assert problems
    assert len(problems[0].message) < 200


def test_the_deepest_nesting_allowed_is_read_and_one_more_is_not():
    assert not read("[" * MAX_DEPTH + "]" * MAX_DEPTH)[1]
    assert read("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))[1]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), (".5", 0.5), ("5.", 5.0), ("-.5e3", -500.0), ("0", 0), ("-3", -3), ("+5", 5),
        ("0.5", 0.5), ("true", True), ("false", False), ("null", None), ("~", None), ("", None),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("True", "True"), ("010", "010"), ("0x10", "0x10"),
        ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("2001-01-01", "2001-01-01"), ("1e", "1e"), (".", "."),
        ("9" * 5000, "9" * 5000),
    ],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_2(raw, value):
    found = resolve_plain(raw)
    assert found == value
    assert type(found) is type(value)


def test_quotes_make_text():
    node, problems = read("a: \"5\"\nb: 'true'\n")
    assert not problems
    assert [e.node.value for e in node.value.values()] == ["5", "true"]
    assert all(e.node.quoted for e in node.value.values())


def test_a_second_key_of_the_same_name_is_an_error_that_names_both_lines():
    _, problems = read("a: 1\nb: 2\na: 3\n")
    assert problems[0].code == "duplicate_key"
    assert problems[0].spot.line == 3
    assert "line 1" in problems[0].pointer


def test_keys_and_values_know_their_places():
    node, _ = read("a: 1\nb:\n  c: [x, yy]\n")
    entry = node.value["b"].node.value["c"]
    assert (entry.spot.line, entry.spot.column, entry.spot.width) == (3, 2, 1)
    item = entry.node.value[1]
    assert (item.spot.line, item.spot.column, item.spot.width) == (3, 9, 2)


def test_an_empty_text_is_an_empty_map():
    for text in ("", "# only a comment\n", "---\n"):
        node, problems = read(text)
        assert not problems
        assert isinstance(node, Node)
        assert not node.value
