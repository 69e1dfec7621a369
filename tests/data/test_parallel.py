import gzip
import json

import numpy as np
import pytest

from llmkit.data.corpus import TokenCorpus
from llmkit.data.mirror import mirrored
from llmkit.data.parallel_split import open_pair_split, open_pairs
from llmkit.data.stories import story
from llmkit.errors import InputRefused, UsageError


def letters(texts):
    return [[b for b in text.encode() if b != ord("~")] for text in texts]


def build(pairs, cache, **kw):
    return TokenCorpus.build(pairs, kw.pop("encode", letters), cache=cache, tokenizer_digest="t", vocab_size=300, **kw)


def text_of(corpus, i):
    return bytes(corpus.document(i).astype(np.uint8)).decode()


def sides(pairs):
    return [(pair.text, pair.target) for pair in pairs.pairs()]


def both(corpus):
    return [(text_of(corpus, i), text_of(corpus.target, i)) for i in range(corpus.n_documents)]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "a.de").write_text("eins\nzwei\n\n vier \n")
    (tmp_path / "b.de.gz").write_bytes(gzip.compress(b"sechs\r\nsieben"))
    (tmp_path / "a.en").write_text("one\ntwo\nthree\nfour")
    (tmp_path / "b.en").write_text("six\n\n")
    return tmp_path


def test_lines_of_the_files_of_both_sides_belong_together(files):
    pairs = open_pairs([files / "a.de", files / "b.de.gz"], [files / "a.en", files / "b.en"])
    assert sides(pairs) == [
        ("eins", "one"), ("zwei", "two"), ("", "three"), ("vier", "four"), ("sechs", "six"), ("sieben", ""),
    ]  # fmt: skip
    assert sides(open_pairs(f"{files}/*.de*", f"{files}/*.en")) == sides(pairs)
    assert list(pairs.documents())[:4] == ["eins", "one", "zwei", "two"]


def test_document_i_of_one_side_belongs_to_document_i_of_the_other(files, tmp_path):
    pairs = open_pairs(f"{files}/*.de*", f"{files}/*.en")
    corpus = build(pairs, tmp_path / "cache", end_id=33)
    assert both(corpus) == [("eins!", "one!"), ("zwei!", "two!"), ("vier!", "four!"), ("sechs!", "six!")]
    assert corpus.report.n_empty == 2
    assert corpus.report.target.n_documents == corpus.target.n_documents == 4
    assert any("2 pairs with an empty side left out" in line for line in corpus.report.lines())
    again = build(pairs, tmp_path / "cache", end_id=33, encode=None)
    assert both(again) == both(corpus)


def test_a_side_that_has_text_but_no_tokens_takes_its_partner_along(tmp_path):
    (tmp_path / "a").write_text("x\n~\ny\n")
    (tmp_path / "b").write_text("1\n2\n~~\n")
    assert both(build(open_pairs(tmp_path / "a", tmp_path / "b"), tmp_path / "cache")) == [("x", "1")]


def test_pairs_may_be_cut_into_sentences(tmp_path):
    (tmp_path / "a").write_text("One. Two.\nThree.\n")
    (tmp_path / "b").write_text("Eins.\nDrei. Vier. Neun.\n")
    corpus = build(open_pairs(tmp_path / "a", tmp_path / "b"), tmp_path / "cache", sentences=True)
    assert (corpus.n_sentences, corpus.target.n_sentences) == (3, 4)
    assert both(corpus) == [("One. Two.", "Eins."), ("Three.", "Drei. Vier. Neun.")]


@pytest.mark.parametrize(("ours", "theirs"), [("a\nb\nc\n", "x\ny\n"), ("a\nb\n", "x\ny\nz\n")])
def test_files_of_unequal_length_are_refused_with_both_counts(tmp_path, ours, theirs):
    (tmp_path / "a").write_text(ours)
    (tmp_path / "b").write_text(theirs)
    n, m = ours.count("\n"), theirs.count("\n")
    with pytest.raises(InputRefused, match=rf"a has {n} lines and .*b has {m}"):
        build(open_pairs(tmp_path / "a", tmp_path / "b"), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("name", "content", "asked"),
    [
        ("a.tsv", "id\ten\tde\n1\tone\teins\n2\ttwo\tzwei\n", {"text": "en", "pair": "de"}),
        ("a.csv", "source,target\none,eins\ntwo,zwei\n", {}),
        ("a.jsonl", '{"src": "one", "tgt": "eins"}\n{"src": "two ", "tgt": "zwei"}\n', {}),
        ("a.json", '[{"en": "one", "de": "eins"}, {"en": "two", "de": "zwei"}]', {"pair": "de"}),
    ],
)
def test_two_columns_of_a_table_are_pairs(tmp_path, name, content, asked):
    (tmp_path / name).write_text(content)
    assert sides(open_pairs(tmp_path / name, **asked)) == [("one", "eins"), ("two", "zwei")]


def test_columns_that_cannot_be_told_are_asked_for(tmp_path):
    (tmp_path / "a.tsv").write_text("en\tde\tid\none\teins\t1\n")
    with pytest.raises(UsageError, match=r"which columns.*there is: en, de, id"):
        next(open_pairs(tmp_path / "a.tsv").pairs())
    with pytest.raises(UsageError, match="no column 'due'") as e:
        next(open_pairs(tmp_path / "a.tsv", text="en", pair="due").pairs())
    assert "de" in e.value.hint


@pytest.mark.parametrize("value", ["1", "[1]", '{"x": "y"}', "true"])
def test_cells_that_are_no_text_are_refused_with_file_and_line(tmp_path, value):
    (tmp_path / "a.jsonl").write_text(f'{{"src": "x", "tgt": "y"}}\n{{"src": "x", "tgt": {value}}}\n')
    with pytest.raises(InputRefused, match=r"a.jsonl:2: field 'tgt' is not text"):
        list(open_pairs(tmp_path / "a.jsonl").pairs())


def test_stories_are_pairs_of_three_kinds():
    first = story(3, 0)
    found = {form: sides(open_pairs("stories", pair=form, stories=5, seed=3)) for form in
             ("summary", "question", "mirror")}  # fmt: skip
    assert found["summary"][0] == (first.text, first.summary)
    assert found["question"][0] == (f"{first.question} {first.text}", first.answer)
    assert found["mirror"][: len(first.sentences)] == [(s, mirrored(s)) for s in first.sentences]
    assert len(found["summary"]) == len(found["question"]) == 5


@pytest.mark.parametrize("form", ["summary", "question", "mirror"])
def test_no_story_pair_is_on_both_sides_of_the_split(form):
    train, validation = open_pair_split("stories", pair=form, stories=300, fraction=0.1)
    ours, theirs = ({pair.text for pair in side.pairs()} for side in (train, validation))
    assert len(theirs) > 20
    assert not ours & theirs


def test_files_are_split_by_their_text_so_both_sides_move_together(tmp_path):
    rows = [{"src": f"text {i % 300}", "tgt": f"target {i}"} for i in range(900)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train, validation = open_pair_split(tmp_path / "a.jsonl", fraction=0.2)
    ours, theirs = sides(train), sides(validation)
    assert sorted(ours + theirs) == sorted((row["src"], row["tgt"]) for row in rows)
    assert not {text for text, _ in ours} & {text for text, _ in theirs}
    assert 100 < len(theirs) < 260


def test_validation_pairs_may_be_named(files):
    train, validation = open_pair_split(files / "a.de", files / "a.en", files / "b.de.gz", files / "b.en")
    assert sides(validation) == [("sechs", "six"), ("sieben", "")]
    assert len(list(train.pairs())) == 4
    assert open_pair_split(files / "a.de", files / "a.en", fraction=0)[1] is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"train": "stories"}, "several ways"),
        ({"train": "stories", "pair": "summry"}, "no pair 'summry'"),
        ({"train": "stories", "target": "a.en"}, "goes with files"),
        ({"train": ["stories", "a.tsv"], "pair": "summary"}, "cannot be pairs together"),
        ({"train": "a.de"}, "one text, where pairs"),
        ({"train": "a.de", "target": "a.de"}, "both the text and its target"),
        ({"train": "a.de", "target": ["a.en", "b.en"]}, "1 files and data.target 2"),
        ({"train": "a.de", "target": "a.en", "pair": "de"}, "and data.pair a column"),
        ({"train": "a.tsv", "target": "a.en"}, "is a table"),
        ({"train": "a.de", "target": "a.en", "validation": "b.en"}, "without data.validation_target"),
        ({"train": "a.de", "target": "a.en", "validation_target": "b.en"}, "without data.validation"),
        ({"train": "a.de", "target": "a.en", "validation": "b.en", "validation_target": "a.en"}, "both for training"),
    ],
)
def test_what_cannot_be_pairs_is_said_before_anything_is_read(files, monkeypatch, given, says):
    (files / "a.tsv").write_text("src\ttgt\nx\ty\n")
    monkeypatch.chdir(files)
    with pytest.raises(UsageError) as e:
        open_pair_split(**given)
    assert says in e.value.message


def test_pairs_that_occur_twice_are_counted_as_pairs(tmp_path):
    (tmp_path / "a.tsv").write_text("src\ttgt\nx\t1\nx\t2\nx\t1\n")
    assert build(open_pairs(tmp_path / "a.tsv"), tmp_path / "cache").report.n_duplicates == 1


def test_every_change_of_a_side_is_another_corpus(files, tmp_path):
    def made():
        return build(open_pairs(files / "a.de", files / "a.en"), tmp_path / "cache")

    before = made()
    (files / "a.en").write_text("one\ntwo\nthree\nFOUR")
    after = made()
    assert before.key != after.key
    assert before.content_sha256 != after.content_sha256
    parts = open_pair_split(files / "a.de", files / "a.en", fraction=0.5)
    assert len({before.key, *(part.fingerprint() for part in parts)}) == 3


@pytest.mark.parametrize("name", ["target/ids.bin", "target/meta.json", "documents.bin"])
def test_damage_to_either_side_is_noticed(files, tmp_path, name):
    pairs = open_pairs(files / "a.de", files / "a.en")
    corpus = build(pairs, tmp_path / "cache")
    good, victim = both(corpus), corpus.path / name
    del corpus
    victim.write_bytes(victim.read_bytes()[:-2])
    assert both(build(pairs, tmp_path / "cache")) == good
