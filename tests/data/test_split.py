import json

import pytest

from llmkit.data.pieces import PIECE
from llmkit.data.split import open_split
from llmkit.data.weights import open_weighted
from llmkit.errors import InputRefused, UsageError


def texts(part):
    return [piece.text for piece in part.pieces()]


@pytest.mark.parametrize("length", [10, 1000, 3 * PIECE + 17])
def test_one_file_is_split_by_characters_as_nanogpt_does(tmp_path, length):
    text = ("Ünï " * (length // 4 + 1))[:length]
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    train, validation = open_split(tmp_path / "a.txt", fraction=0.1)
    n = int(len(text) * 0.9)
    assert "".join(texts(train)) == text[:n]
    assert "".join(texts(validation)) == text[n:]
    assert next(validation.pieces()).first


def test_several_files_are_split_at_one_place_of_the_whole(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name * 100)
    train, validation = open_split(f"{tmp_path}/*.txt", fraction=0.5)
    assert texts(train) == ["a" * 100, "b" * 50]
    assert texts(validation) == ["b" * 50, "c" * 100]


def records(path, names):
    path.write_text("".join(json.dumps({"text": n}) + "\n" for n in names))
    return path


def test_records_are_split_by_content_so_duplicates_stay_on_one_side(tmp_path):
    names = [f"record {i % 400}" for i in range(1000)]
    train, validation = open_split(records(tmp_path / "a.jsonl", names), fraction=0.2)
    assert not set(texts(train)) & set(texts(validation))
    assert sorted(texts(train) + texts(validation)) == sorted(names)
    assert 50 < len(set(texts(validation))) < 110


def test_more_records_move_none_to_the_other_side(tmp_path):
    few = open_split(records(tmp_path / "a.jsonl", [f"r{i}" for i in range(100)]), fraction=0.3)[1]
    more = open_split(records(tmp_path / "b.jsonl", [f"r{i}" for i in reversed(range(200))]), fraction=0.3)[1]
    assert set(texts(few)) == set(texts(more)) & {f"r{i}" for i in range(100)}


def test_text_beside_a_few_records_is_held_out_by_place(tmp_path):
    text = "".join(f"word{i} " for i in range(3000))
    (tmp_path / "a.txt").write_text(text)
    records(tmp_path / "b.jsonl", ["one", "two", "three"])
    (tmp_path / "c.txt").write_text("the end")
    train, validation = open_split([tmp_path / "a.txt", tmp_path / "b.jsonl", tmp_path / "c.txt"], fraction=0.02)
    held_out = [t for t in texts(validation) if t not in ("one", "two", "three")]
    kept = [t for t in texts(train) if t not in ("one", "two", "three")]
    assert held_out[-1] == "the end"
    assert "".join(kept + held_out) == text + "the end"
    assert len("".join(held_out)) == pytest.approx(0.02 * len(text), rel=0.01)
    assert sorted(set(texts(train) + texts(validation)) - {*kept, *held_out}) == ["one", "three", "two"]


def test_validation_stories_are_others_and_stay_when_more_are_trained_on():
    train, validation = open_split("stories", stories=100, fraction=0.2)
    _, bigger = open_split("stories", stories=200, fraction=0.1)
    assert len(texts(train)) == 100
    assert len(texts(validation)) == 20
    assert not set(texts(train)) & set(texts(validation))
    assert texts(validation) == texts(bigger)


def test_a_validation_source_is_taken_as_it_is(tmp_path):
    (tmp_path / "a.txt").write_text("train")
    (tmp_path / "b.txt").write_text("valid")
    train, validation = open_split(tmp_path / "a.txt", tmp_path / "b.txt")
    assert (texts(train), texts(validation)) == (["train"], ["valid"])
    with pytest.raises(UsageError, match="both"):
        open_split(tmp_path / "a.txt", tmp_path / "a.txt")


def test_an_empty_side_is_refused_with_the_way_out(tmp_path):
    _, validation = open_split(records(tmp_path / "a.jsonl", ["only one"]), fraction=0.001)
    with pytest.raises(InputRefused, match="leaves nothing") as e:
        texts(validation)
    assert "validation_fraction" in e.value.hint


@pytest.mark.parametrize("fraction", [0, 1, -0.5, float("nan")])
def test_a_fraction_lies_between_none_and_all(fraction):
    with pytest.raises(UsageError):
        open_split("stories", fraction=fraction)


def test_both_sides_have_their_own_fingerprints(tmp_path):
    (tmp_path / "a.txt").write_text("some text to split")
    sides = open_split(tmp_path / "a.txt", fraction=0.5) + open_split(tmp_path / "a.txt", fraction=0.4)
    assert len({side.fingerprint() for side in sides}) == 4


def test_a_file_named_twice_by_any_names_is_refused_as_what_is_held_out_would_be_trained_on(tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").write_text("some words\n" * 50)
    (tmp_path / "link.txt").symlink_to(tmp_path / "d" / "a.txt")
    twice = ([tmp_path / "d", tmp_path / "d" / "a.txt"], [tmp_path / "d" / "a.txt", tmp_path / "link.txt"])
    for spec in twice:
        with pytest.raises(UsageError, match=r"named twice[\s\S]*data.weights"):
            open_split(spec, fraction=0.1)
        with pytest.raises(UsageError, match="named twice"):
            open_weighted(spec, [1, 2], fraction=0.1)
    with pytest.raises(UsageError, match=r"both data\.train and data\.validation"):
        open_split(tmp_path / "d" / "a.txt", tmp_path / "link.txt", fraction=0.1)
