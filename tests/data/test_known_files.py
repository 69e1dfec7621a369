import os

import pytest

from llmkit.data import corpus as corpus_of
from llmkit.data import known_files
from llmkit.data.corpus import TokenCorpus
from llmkit.data.known_files import KnownFiles
from llmkit.data.sources import file_sha256, open_source
from llmkit.errors import StorageError


@pytest.fixture
def reads(monkeypatch):
    """The files that were read as a whole, by name; every note is believed at once."""
    found = []

    def counted(path):
        found.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(known_files, "file_sha256", counted)
    monkeypatch.setattr(corpus_of, "file_sha256", counted)
    monkeypatch.setattr(known_files, "WORTH", 1)
    monkeypatch.setattr(known_files, "SETTLED_NS", -(10**12))
    return found


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.txt").write_text("some words. and more.")
    return tmp_path / "a.txt"


def build(file, cache, **kw):
    source = open_source(file)
    return TokenCorpus.build(
        source, lambda texts: [list(t.encode()) for t in texts], cache=cache, tokenizer_digest="t", vocab_size=300, **kw
    )


def test_a_file_is_read_once_until_it_changes(file, tmp_path, reads):
    known = KnownFiles(tmp_path / "cache")
    first = known.sha256(file)
    assert known.sha256(file) == KnownFiles(tmp_path / "cache").sha256(file) == first == file_sha256(file)
    assert reads == ["a.txt"]
    before = file.stat()
    file.write_text("other words. and more")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert known.sha256(file) == file_sha256(file) != first
    assert len(reads) == 2


def test_a_file_that_takes_the_place_of_another_is_read(file, tmp_path, reads):
    known = KnownFiles(tmp_path / "cache")
    known.sha256(file)
    (tmp_path / "b.txt").write_text("SOME words. and more.")
    os.replace(tmp_path / "b.txt", file)
    assert known.sha256(file) == file_sha256(file)


def test_a_note_made_right_after_a_change_is_not_believed(file, tmp_path, reads, monkeypatch):
    monkeypatch.setattr(known_files, "SETTLED_NS", 3 * 10**9)
    known = KnownFiles(tmp_path / "cache")
    known.sha256(file)
    known.sha256(file)
    assert len(reads) == 2


@pytest.mark.parametrize("note", ["", "[]", "{", '{"sha256": 3}', '{"sha256": "x", "state": 1}'])
def test_a_damaged_note_is_no_note(file, tmp_path, reads, note):
    known = KnownFiles(tmp_path / "cache")
    known.sha256(file)
    next((tmp_path / "cache").iterdir()).write_text(note)
    assert known.sha256(file) == file_sha256(file)


def test_where_notes_cannot_be_kept_files_are_read(file, tmp_path, reads):
    known = KnownFiles(file / "not-a-directory")
    assert known.sha256(file) == known.sha256(file) == file_sha256(file)
    with pytest.raises(StorageError):
        known.sha256(tmp_path / "gone")


def test_a_corpus_that_did_not_change_is_opened_without_reading_it(file, tmp_path, reads):
    build(file, tmp_path / "cache")
    reads.clear()
    corpus = build(file, tmp_path / "cache")
    assert reads == []
    assert len(corpus) == 21
    build(file, tmp_path / "cache", verify=True)
    assert set(reads) == {"ids.bin", "documents.bin", "sentences.bin", "document_sentences.bin", "digests.bin"}


def test_damage_is_noticed_by_the_time_of_change(file, tmp_path, reads):
    corpus = build(file, tmp_path / "cache")
    good, victim = corpus.ids.tolist(), corpus.path / "ids.bin"
    data, before = bytearray(victim.read_bytes()), victim.stat()
    del corpus
    data[3] ^= 1
    victim.write_bytes(data)
    os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert build(file, tmp_path / "cache").ids.tolist() == good
