import json

import numpy as np
import pytest

from llmkit.data.codes import check_known, code_token
from llmkit.data.corpus import TokenCorpus
from llmkit.data.sources import open_source
from llmkit.data.split import open_split
from llmkit.data.stories import MOODS, story
from llmkit.errors import InputRefused, UsageError


def letters(texts):
    return [list(text.encode()) for text in texts]


def build(source, cache, codes, **kw):
    ids = {code: 300 + i for i, code in enumerate(codes)}
    return TokenCorpus.build(source, letters, cache=cache, tokenizer_digest="t", vocab_size=400, codes=ids, **kw)


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [("good", "Yes. Well."), ("bad", "no"), ("bad", " "), ("good", "fine")]
    path.write_text("".join(json.dumps({"label": label, "text": text}) + "\n" for label, text in rows))
    return path


def test_documents_begin_with_the_code_of_their_record(records, tmp_path):
    source = open_source(records, coded=True)
    assert source.codes() == ("bad", "good")
    corpus = build(source, tmp_path / "cache", source.codes(), end_id=0, sentences=True)
    assert corpus.codes == ("bad", "good")
    assert [corpus.document(i).tolist() for i in range(3)] == [
        [301, *b"Yes. Well.", 0],
        [300, *b"no", 0],
        [301, *b"fine", 0],
    ]
    assert corpus.sentence(0).tolist() == [301, *b"Yes."]
    assert (corpus.n_sentences, corpus.report.n_empty) == (4, 1)


def test_the_name_of_a_text_file_is_its_code(tmp_path):
    (tmp_path / "sea.txt").write_text("waves")
    (tmp_path / "land.v2.txt").write_text("hills")
    source = open_source(f"{tmp_path}/*.txt", coded=True)
    assert source.codes() == ("land.v2", "sea")
    assert [(piece.code, piece.text) for piece in source.pieces()] == [("land.v2", "hills"), ("sea", "waves")]


def test_a_long_file_has_its_code_once(tmp_path):
    (tmp_path / "sea.txt").write_text("waves and\n" * 60_000)
    corpus = build(open_source(tmp_path / "sea.txt", coded=True), tmp_path / "cache", ("sea",))
    assert corpus.n_documents == 1
    assert np.flatnonzero(corpus.ids == 300).tolist() == [0]


def test_stories_are_coded_by_their_mood():
    source = open_source("stories", stories=30, seed=2, coded=True)
    assert set(source.codes()) == set(MOODS)
    assert [piece.code for piece in source.pieces()] == [story(2, i).mood for i in range(30)]


def test_every_text_is_validated_at_its_own_end(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(name * 100)
    train, validation = open_split(f"{tmp_path}/*.txt", fraction=0.2, coded=True)
    assert [(p.code, p.text) for p in train.pieces()] == [(name, name * 80) for name in "abc"]
    assert [(p.code, p.text, p.first) for p in validation.pieces()] == [(name, name * 20, True) for name in "abc"]


def test_a_change_of_the_codes_is_a_change_of_the_corpus(records, tmp_path):
    (tmp_path / "x.txt").write_text("same")
    (tmp_path / "y.txt").write_text("same")
    prints = [open_source(tmp_path / f"{n}.txt", coded=True).fingerprint() for n in "xy"]
    prints.append(open_source(tmp_path / "x.txt").fingerprint())
    prints += [open_source(records, coded=True, label=label).fingerprint() for label in (None, "text")]
    assert len(set(prints)) == 5


@pytest.mark.parametrize("label", ["<|x|>", "a|b", "x" * 65, "bell\x07", "pad", "endoftext"])
def test_labels_that_cannot_be_tokens_are_refused_with_file_and_line(tmp_path, label):
    (tmp_path / "a.jsonl").write_text(json.dumps({"label": label, "text": "x"}) + "\n")
    with pytest.raises(InputRefused) as e:
        open_source(tmp_path / "a.jsonl", coded=True).codes()
    assert "a.jsonl:1" in e.value.message
    assert e.value.message.isprintable()


def test_a_column_of_texts_is_not_taken_for_codes(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"label": "text {i}", "text": "x"}}\n' for i in range(1200)))
    with pytest.raises(InputRefused, match="more than 1000 different codes"):
        open_source(tmp_path / "a.jsonl", coded=True).codes()


def test_a_label_column_is_asked_for_with_what_there_is(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"kind": "x", "text": "y"}\n')
    with pytest.raises(UsageError, match=r"which column holds the label.*kind, text"):
        open_source(tmp_path / "a.jsonl", coded=True).codes()
    assert open_source(tmp_path / "a.jsonl", coded=True, label="kind").codes() == ("x",)


def test_codes_that_are_numbers_are_in_their_order_and_new_ones_are_refused():
    check_known(("1",), ("1", "2"), "validation")
    with pytest.raises(InputRefused, match="validation has the code '3'"):
        check_known(("1", "3"), ("1", "2"), "validation")
    assert code_token("happy") == "<|happy|>"
