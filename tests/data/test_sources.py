import contextlib
import gzip
import io
import json
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data import pieces as pieces_of
from llmkit.data import spool
from llmkit.data.pieces import PIECE, cut
from llmkit.data.sources import open_source, read_documents
from llmkit.data.stories import story
from llmkit.errors import InputRefused, LlmkitError, StorageError, UsageError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.txt").write_text("first file\n\nwith two paragraphs\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"second file"))
    (tmp_path / "c.jsonl").write_text('{"text": "record one", "id": 1}\n\n{"text": "record two"}\n')
    (tmp_path / "notes.bin").write_bytes(b"\0\1")
    (tmp_path / ".hidden.txt").write_text("unseen")
    return tmp_path


def documents(spec, **kw):
    return list(read_documents(spec, **kw))


def test_a_document_is_a_file_a_record_or_a_story(folder):
    assert documents(folder / "a.txt") == ["first file\n\nwith two paragraphs\n"]
    assert documents(str(folder / "c.jsonl")) == ["record one", "record two"]
    assert documents("stories", stories=2, seed=5) == [story(5, 0).text, story(5, 1).text]


def test_globs_directories_and_lists_are_read_in_order_of_name(folder):
    every = ["first file\n\nwith two paragraphs\n", "second file", "record one", "record two"]
    assert documents(folder) == every
    assert documents(f"{folder}/*.txt*") == every[:2]
    assert documents([folder / "c.jsonl", f"{folder}/a.*"]) == every[2:] + every[:1]
    assert documents([folder / "a.txt", "stories"], stories=1) == [story(0, 0).text, every[0]]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path):
    (tmp_path / "a[1].txt").write_text("hello")
    assert documents(tmp_path / "a[1].txt") == ["hello"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text(alphabet="ab \n\r", min_size=1, max_size=30), max_size=40))
def test_pieces_joined_are_the_text_exactly(chunks):
    old, pieces_of.PIECE = pieces_of.PIECE, 50
    try:
        pieces = list(cut(iter(chunks)))
    finally:
        pieces_of.PIECE = old
    assert "".join(pieces) == "".join(chunks)
    assert all(pieces)


def test_large_files_come_in_pieces_cut_between_paragraphs(tmp_path):
    paragraph = "All work and no play makes Jack a dull boy.\n" * 20 + "\n"
    text = paragraph * (5 * PIECE // len(paragraph))
    (tmp_path / "big.txt").write_text(text)
    pieces = list(open_source(tmp_path / "big.txt").pieces())
    assert "".join(p.text for p in pieces) == text
    assert len(pieces) >= 4
    assert [p.first for p in pieces] == [True] + [False] * (len(pieces) - 1)
    assert all(p.text.endswith("boy.\n\n"[:-1]) and len(p.text) < 2.5 * PIECE for p in pieces[:-1])


def test_an_enormous_line_is_read_in_flat_memory(tmp_path):
    (tmp_path / "line.txt").write_bytes(b"x" * (24 << 20))
    tracemalloc.start()
    assert sum(map(len, read_documents(tmp_path / "line.txt"))) == 24 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20


def test_the_text_field_is_found_or_asked_for_with_what_there_is(tmp_path):
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"body": "only"}\n')
    two.write_text('{"title": "t", "body": "b"}\n')
    assert documents(one) == ["only"]
    assert documents(two, field="body") == ["b"]
    with pytest.raises(UsageError, match=r"which field.*title, body"):
        documents(two)
    with pytest.raises(UsageError, match=r"two.jsonl:1: no field 'bod'.*title, body") as e:
        documents(two, field="bod")
    assert "body" in e.value.hint


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.txt", "", "a.txt is empty"),
        ("a.jsonl", "\n\n", "a.jsonl is empty"),
        ("a.jsonl", '{"text": "x"}\n{"text": 3}\n', "a.jsonl:2: field 'text' is not text"),
        ("a.jsonl", '{"text": "x"}\n{"txt": "y"}\n', "a.jsonl:2: no field 'text'"),
        ("a.jsonl", '{"text": "x"}\n{oops\n', "a.jsonl:2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl:1: a record must be an object or a string, not a list"),
        ("a.jsonl", "[" * 100_000 + "\n", "nested too deeply"),
        ("a.jsonl", '{"text": ' + "9" * 5000 + "}\n", "a.jsonl:1: JSON with a number of too many digits"),
        ("a.jsonl", '{"text": "\\ud800"}\n', "a.jsonl:1: half of a surrogate pair"),
        ("a.json", '["\\ud800"]', "half of a surrogate pair"),
        ("a.json", '{"text": "x"}', "a list of records is expected"),
        ("a.json", '{"text": "x"}\n{"text": "y"}', "not JSON"),
        ("a.tsv", "text\tlabel\nx\ty\tz\n", "a.tsv:2: 3 columns where the header has 2"),
        ("a.csv", 'text,label\n"broken,1\nx,2\n', "a.csv:2: broken CSV"),
    ],
)
def test_broken_records_are_refused_with_file_and_line(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputRefused) as e:
        documents(tmp_path / name)
    assert says in e.value.message
    assert "\n" not in e.value.message


def test_json_lists_and_bare_strings_are_records(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"text": "x"}, "y"]))
    assert documents(tmp_path / "a.json") == ["x", "y"]


def test_what_is_missing_is_said_at_once_and_guessed_at(folder):
    with pytest.raises(StorageError, match="no such file") as e:
        read_documents(folder / "b.txt.g")
    assert "b.txt.gz" in e.value.hint
    with pytest.raises(StorageError) as e:
        read_documents("storys")
    assert e.value.hint == "did you mean 'stories'?"
    with pytest.raises(StorageError, match="no file matches"):
        read_documents(f"{folder}/*.nothing")
    (folder / "empty").mkdir()
    with pytest.raises(InputRefused, match="no text in directory"):
        read_documents(folder / "empty")


@pytest.mark.parametrize("spec", ["", [], ["stories", "stories"], ["-", "-"]])
def test_a_spec_that_cannot_be_right_is_wrong_use(spec):
    with pytest.raises(UsageError):
        open_source(spec)


def test_stdin_is_kept_so_that_it_can_be_read_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_SPOOLED", {})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"from a pipe"))))
    source = open_source("-")
    kept = source.spooled(tmp_path)
    again = source.spooled(tmp_path)
    assert list(kept.documents()) == list(kept.documents()) == list(again.documents()) == ["from a pipe"]
    assert kept.fingerprint() == again.fingerprint()
    assert not list(tmp_path.glob(".tmp*"))


def test_what_is_wrong_with_stdin_is_said_of_stdin_and_not_of_the_file_it_is_kept_in(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_SPOOLED", {})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"caf\xe9 at noon"))))
    kept = open_source("-").spooled(tmp_path)
    with pytest.raises(InputRefused, match=r"^stdin: byte 3 \(0xe9\) is not valid UTF-8"):
        list(kept.documents())


def test_a_pipe_with_nothing_in_it_is_called_so_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_SPOOLED", {})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b""))))
    with pytest.raises(InputRefused, match="stdin is empty"):
        open_source("-").spooled(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_stdin_with_a_field_is_jsonl(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b'{"t": "x"}\n{"t": "y"}'))))
    assert documents("-", field="t") == ["x", "y"]


def test_the_fingerprint_follows_content_and_settings_not_names(tmp_path):
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.txt").write_text("same")
    (tmp_path / "c.txt").write_text("other")
    prints = [open_source(tmp_path / f"{n}.txt").fingerprint() for n in "abc"]
    assert prints[0] == prints[1] != prints[2]
    worlds = [open_source("stories", stories=s, seed=k).fingerprint() for s, k in ((10, 0), (11, 0), (10, 1))]
    assert len(set(worlds)) == 3


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_spec_brings_a_traceback(spec):
    if spec != "-" and not spec.startswith(("/", "~", ".")) and "*" not in spec:
        with contextlib.suppress(LlmkitError):
            open_source(spec)


def test_what_was_found_is_said_with_format_and_packing(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.jsonl").write_bytes(gzip.compress(b'{"text": "x"}'))
    for i in range(3):
        (tmp_path / f"c{i}.tsv").write_text("text\nx")
    source = open_source(["stories", f"{tmp_path}/a.txt", f"{tmp_path}/b.jsonl", f"{tmp_path}/c*.tsv"], stories=1000)
    assert source.describe() == "1,000 built-in stories, a.txt (text), b.jsonl (JSON lines, gzip), 3 files (TSV)"


@pytest.mark.parametrize(
    ("data", "texts", "kind"),
    [
        (b'\n{"text": "One."}\n{"text": "Two."}\n', ["One.", "Two."], "JSON lines"),
        (b'{ "Hello", she said.\n', ['{ "Hello", she said.\n'], "text"),
        (b"[1, 2]\n", ["[1, 2]\n"], "text"),
        (b'{"a":' * 50_000, ['{"a":' * 50_000], "text"),
    ],
)
def test_stdin_is_known_by_its_first_line(data, texts, kind, tmp_path, monkeypatch):
    monkeypatch.setattr("llmkit.data.spool._SPOOLED", {})
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
    source = open_source("-").spooled(tmp_path)
    assert "".join(source.documents()) == "".join(texts)
    assert source.describe().endswith(f"({kind})")
