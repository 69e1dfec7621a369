import os
import tracemalloc

import numpy as np
import pytest

from llmkit.data import corpus as corpus_module
from llmkit.data.corpus import TokenCorpus
from llmkit.data.pieces import PIECE
from llmkit.data.sources import open_source
from llmkit.errors import InputRefused, StorageError


def letters(texts):
    return [list(text.encode()) for text in texts]


def build(source, cache, **kw):
    settings = {"tokenizer_digest": "t", "vocab_size": 300} | kw
    return TokenCorpus.build(source, settings.pop("encode", letters), cache=cache, **settings)


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "One is. Two is."}\n{"text": " "}\n{"text": "Three."}\n{"text": "Three."}\n')
    return open_source(path)


def test_ids_documents_and_sentences_are_where_they_are_said_to_be(records, tmp_path):
    corpus = build(records, tmp_path / "cache", end_id=299, sentences=True)
    assert [bytes(corpus.sentence(i)[:7].astype(np.uint8)).decode() for i in range(3)] == [
        "One is.",
        " Two is",
        "Three.+",
    ]
    assert corpus.document(0).tolist() == [*b"One is. Two is.", 299]
    assert corpus.document_sentences.tolist() == [0, 2, 3, 4]
    assert corpus.ids.dtype == np.uint16
    assert (corpus.n_documents, corpus.n_sentences, len(corpus)) == (3, 4, 16 + 7 + 7)
    assert corpus.report.n_empty == 1
    assert corpus.report.n_duplicates == 1
    assert corpus.n_bytes == 15 + 1 + 6 + 6
    assert any("repeat" in line for line in corpus.report.lines())


def test_a_long_file_is_one_document_without_a_token_lost(tmp_path):
    text = "Some words here.\n\n" * (3 * PIECE // 18)
    (tmp_path / "a.txt").write_text(text)
    corpus = build(open_source(tmp_path / "a.txt"), tmp_path, end_id=0)
    assert corpus.n_documents == 1
    assert bytes(corpus.ids.astype(np.uint8)) == text.encode() + b"\0"
    segmented = build(open_source(tmp_path / "a.txt"), tmp_path, end_id=0, sentences=True)
    assert bytes(segmented.ids.astype(np.uint8)) == text.encode() + b"\0"
    assert segmented.n_sentences == text.count("Some")


def test_large_vocabularies_get_wide_ids(records, tmp_path):
    corpus = build(records, tmp_path, vocab_size=100_000, encode=lambda texts: [[70_000] for _ in texts])
    assert corpus.ids.dtype == np.uint32
    assert corpus.ids.max() == 70_000


def test_the_second_time_nothing_is_tokenized(records, tmp_path):
    first = build(records, tmp_path / "c")
    second = build(records, tmp_path / "c", encode=None)
    assert np.array_equal(first.ids, second.ids)
    assert first.content_sha256 == second.content_sha256


@pytest.mark.parametrize("change", [{"tokenizer_digest": "u"}, {"end_id": 1}, {"sentences": True}, {"vocab_size": 301}])
def test_another_tokenizer_or_setting_is_another_corpus(records, tmp_path, change):
    assert build(records, tmp_path / "c").key != build(records, tmp_path / "c", **change).key


def test_changed_text_is_tokenized_again(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    before = build(open_source(path), tmp_path)
    os.utime(path, (1, 1))
    assert build(open_source(path), tmp_path).key == before.key
    path.write_text("beyond")
    os.utime(path, (1, 1))
    after = build(open_source(path), tmp_path)
    assert bytes(after.ids.astype(np.uint8)) == b"beyond"
    assert after.content_sha256 != before.content_sha256


@pytest.mark.parametrize("name", ["ids.bin", "documents.bin", "meta.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_cache_is_built_again(records, tmp_path, name, damage):
    corpus = build(records, tmp_path)
    good = corpus.ids.tolist()
    victim = corpus.path / name
    del corpus
    data = bytearray(victim.read_bytes())
    if damage == "remove":
        victim.unlink()
    else:
        data[len(data) // 2] ^= 1
        victim.write_bytes(data[:-3] if damage == "truncate" else data)
    assert build(records, tmp_path).ids.tolist() == good


def test_a_failed_build_leaves_nothing_behind(records, tmp_path):
    def broken(texts):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        build(records, tmp_path / "c", encode=broken)
    assert list((tmp_path / "c").iterdir()) == []


def test_text_without_tokens_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text(" \n \n")
    with pytest.raises(InputRefused, match="no text"):
        build(open_source(tmp_path / "a.txt"), tmp_path)


def test_a_cache_that_cannot_be_written_is_said_clearly(records, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the tokenized corpus"):
        build(records, tmp_path / "file" / "cache")


def test_memory_stays_flat_while_a_corpus_is_built(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"some words on a line\n" * 500_000)

    def encode(texts):
        return [[1] * (len(text) // 4) for text in texts]

    tracemalloc.start()
    corpus = build(open_source(tmp_path / "a.txt"), tmp_path, encode=encode)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(corpus) > 2_000_000
    assert peak < 20 << 20


def test_a_good_corpus_that_another_process_finished_meanwhile_is_kept(records, tmp_path, monkeypatch):
    real, first = corpus_module.write_corpus, []

    def overtaken(*given):
        monkeypatch.setattr(corpus_module, "write_corpus", real)
        first.append(build(records, tmp_path / "cache").path.stat().st_ino)
        real(*given)

    monkeypatch.setattr(corpus_module, "write_corpus", overtaken)
    second = build(records, tmp_path / "cache")
    assert [second.path.stat().st_ino] == first
    assert not list((tmp_path / "cache").glob(".tmp-*"))
