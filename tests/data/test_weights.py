from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.corpus import TokenCorpus
from llmkit.data.weights import is_taken, open_weighted, open_weighted_pairs
from llmkit.errors import UsageError


def letters(texts):
    return [list(text.encode()) for text in texts]


def records(path, texts):
    path.write_text("text\tx\n" + "".join(f"{text}\t\n" for text in texts))
    return path


@settings(deadline=None, max_examples=30)
@given(st.floats(0.01, 0.99), st.integers(0, 4))
def test_of_every_thousand_documents_a_fraction_is_taken_exactly(fraction, block):
    taken = sum(is_taken(block * 1000 + i, fraction) for i in range(1000))
    assert abs(taken - 1000 * fraction) <= 1


def test_taken_documents_lie_all_over():
    taken = [i for i in range(1000) if is_taken(i, 0.5)]
    assert 180 < sum(i < 400 for i in taken) < 220
    assert 180 < sum(i % 2 for i in taken) < 320


def test_an_epoch_holds_each_source_as_often_as_its_weight_says(tmp_path):
    a = records(tmp_path / "a.tsv", [f"a{i}" for i in range(2000)])
    b = records(tmp_path / "b.tsv", [f"b{i}" for i in range(500)])
    train, validation = open_weighted([a, b], [2.5, 0.4], fraction=0)
    counts = Counter(p.text for p in train.pieces())
    assert validation is None
    assert Counter(counts[f"a{i}"] for i in range(2000)) == {2: 1000, 3: 1000}
    assert sum(counts[f"b{i}"] for i in range(500)) == pytest.approx(200, abs=15)
    assert len(set(train.documents())) == len(list(train.documents())) == 2500


def test_what_is_held_out_is_held_out_of_every_source_and_counted_once(tmp_path):
    a = records(tmp_path / "a.tsv", [f"a{i}" for i in range(300)])
    b = records(tmp_path / "b.tsv", [f"b{i}" for i in range(300)])
    train, validation = open_weighted([a, b], [1, 3], fraction=0.2)
    ours, theirs = Counter(p.text for p in train.pieces()), Counter(validation.documents())
    assert not set(ours) & set(theirs)
    assert set(theirs.values()) == {1}
    assert {text[0] for text in theirs} == {"a", "b"}
    assert {count for text, count in ours.items() if text[0] == "b"} == {3}


def test_half_of_running_text_is_half_its_characters(tmp_path):
    (tmp_path / "a.txt").write_text("some words and more\n" * 40_000)
    train, _ = open_weighted([tmp_path / "a.txt", "stories"], [1.5, 1], fraction=0, stories=2)
    again = sum(len(piece.text) for piece in train.pieces() if piece.again)
    assert again == pytest.approx(400_000, rel=0.01)


def test_the_report_says_what_each_source_contributes(tmp_path):
    a = records(tmp_path / "a.tsv", ["aaaa", "bbbb"])
    b = records(tmp_path / "b.tsv", ["cccc"])
    train, _ = open_weighted([a, b], [1, 2], fraction=0)
    corpus = TokenCorpus.build(train, letters, cache=tmp_path / "c", tokenizer_digest="t", vocab_size=300, end_id=0)
    assert [(share.n_documents, share.n_tokens) for share in corpus.report.shares] == [(2, 10), (2, 10)]
    assert corpus.report.n_duplicates == 0
    assert any("50.0 % of the tokens" in line for line in corpus.report.lines())


def test_pairs_have_weights_too(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.tsv").write_text("src\ttgt\n" + "".join(f"{name}{i}\tx{i}\n" for i in range(1000)))
    pairs, held_out = open_weighted_pairs([tmp_path / "a.tsv", tmp_path / "b.tsv"], None, [1, 1.5], fraction=0)
    assert held_out is None
    assert Counter(pair.text[0] for pair in pairs.pairs()) == {"a": 1000, "b": 1500}
    corpus = TokenCorpus.build(pairs, letters, cache=tmp_path / "c", tokenizer_digest="t", vocab_size=300)
    assert corpus.n_documents == 2500
    assert corpus.report.n_duplicates == 0
    assert [share.n_documents for share in corpus.report.shares] == [1000, 1500]


def test_a_change_of_a_weight_is_a_change_of_the_corpus(tmp_path):
    a = records(tmp_path / "a.tsv", ["x"])
    assert len({open_weighted([a], [w], fraction=0)[0].fingerprint() for w in (1, 2, 2.5)}) == 3


@pytest.mark.parametrize("weights", [[1], [1, 2, 3], [1, 0], [1, -1], [1, float("nan")], [1, 1000]])
def test_weights_that_do_not_fit_are_refused(tmp_path, weights):
    a, b = records(tmp_path / "a.tsv", ["x"]), records(tmp_path / "b.tsv", ["y"])
    with pytest.raises(UsageError, match=r"data\.weights"):
        open_weighted([a, b], weights, fraction=0)


def test_a_renamed_source_is_reported_by_its_new_name(tmp_path):
    b = records(tmp_path / "b.tsv", ["b0", "b1"])

    def report(name):
        train, _ = open_weighted([records(tmp_path / name, ["one"]), b], [1, 2], fraction=0)
        found = TokenCorpus.build(train, letters, cache=tmp_path / "cache", tokenizer_digest="t", vocab_size=300)
        return found.key, [share.name for share in found.report.shares]

    (key, first), (same, second) = report("a.tsv"), report("renamed.tsv")
    assert key == same
    assert "a.tsv" in first[0]
    assert "renamed.tsv" in second[0]
