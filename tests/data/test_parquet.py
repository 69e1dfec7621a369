import subprocess
import sys

import pytest

from llmkit.data.labelled import read_table
from llmkit.data.parallel_split import open_pairs
from llmkit.data.rows import read_rows
from llmkit.data.sources import open_source
from llmkit.errors import InputRefused, UsageError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def written(path, columns, **kw):
    parquet.write_table(pyarrow.table(columns), path, **kw)
    return path


@pytest.fixture
def table(tmp_path):
    columns = {
        "id": [1, 2, 3],
        "text": ["one", "two\nlines", " drei ü"],
        "label": ["a", "b", "a"],
        "picture": [b"\x00\x01", b"", b"x"],
        "tags": [["x"], [], ["y", "z"]],
    }
    return written(tmp_path / "a.parquet", columns)


def test_text_codes_and_labels_are_read_from_their_columns(table):
    assert list(open_source(table).documents()) == ["one", "two\nlines", " drei ü"]
    assert [piece.code for piece in open_source(table, coded=True).pieces()] == ["a", "b", "a"]
    assert open_source(table, field="label", coded=True, label="id").codes() == ("1", "2", "3")
    found = read_table(table)
    assert [(row.text, found.labels[row.label], row.line) for row in found.rows] == [
        ("one", "a", 1), ("two\nlines", "b", 2), ("drei ü", "a", 3),
    ]  # fmt: skip
    assert next(read_rows(table))[1] == {"id": 1, "text": "one", "label": "a"}


def test_two_columns_are_pairs(tmp_path):
    path = written(tmp_path / "a.parquet", {"src": ["x", "y"], "n": [1, 2], "tgt": ["1", None]})
    assert [(pair.text, pair.target) for pair in open_pairs(path).pairs()] == [("x", "1"), ("y", "")]


def test_a_directory_of_parts_is_one_corpus(tmp_path):
    for i in range(3):
        written(tmp_path / f"part-{i}.parquet", {"text": [f"text {i}"]}, compression="zstd")
    source = open_source(tmp_path)
    assert list(source.documents()) == ["text 0", "text 1", "text 2"]
    assert source.describe() == "3 files (Parquet)"


@pytest.mark.parametrize(("column", "held"), [("picture", "binary"), ("tags", "list<"), ("label.x", None)])
def test_columns_that_hold_no_text_are_refused_by_name(table, column, held):
    with pytest.raises(UsageError if held is None else InputRefused) as e:
        list(open_source(table, field=column).documents())
    assert column in e.value.message
    assert (held or "id, text, label, picture, tags") in e.value.message


def test_cells_without_text_are_refused_with_their_row(tmp_path):
    path = written(tmp_path / "a.parquet", {"text": ["x", None]})
    with pytest.raises(InputRefused, match=r"a.parquet:2: field 'text' is not text"):
        list(open_source(path).documents())


@pytest.mark.parametrize("damage", ["head", "foot", "middle", "cut", "empty", "text"])
def test_damaged_files_are_refused_in_one_line(tmp_path, damage):
    path = written(tmp_path / "a.parquet", {"text": [f"some text {i}" * 50 for i in range(500)]}, compression="snappy")
    data = bytearray(path.read_bytes())
    at = {"head": 5, "foot": len(data) - 20, "middle": len(data) // 3}.get(damage)
    if at is not None:
        data[at : at + 12] = b"\xff" * 12
    path.write_bytes({"cut": data[:-100], "empty": b"", "text": b"just text\n" * 9}.get(damage, bytes(data)))
    with pytest.raises(InputRefused) as e:
        list(open_source(path).documents())
    assert "is not a readable Parquet file" in e.value.message
    assert "\n" not in e.value.message


def test_without_the_package_it_says_which_one_to_install(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="needs the pyarrow package") as e:
        list(open_source(table).documents())
    assert e.value.hint == "pip install 'llmkit[parquet]'"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_that_of_a_piece_of_one_column_not_of_the_file(tmp_path):
    rows = 70_000
    text = [f"document {i} " * 30 + f"{i * i} " * 60 for i in range(rows)]
    written(tmp_path / "a.parquet", {"text": text, "other": text}, row_group_size=rows)
    code = (
        "import re, sys, pyarrow.parquet\n"
        "from llmkit.data.sources import open_source\n"
        "def peak(): return int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "list(open_source(sys.argv[2]).documents())\n"
        "before = peak()\n"
        "print(sum(map(len, open_source(sys.argv[1]).documents())), peak() - before)\n"
    )
    small = written(tmp_path / "b.parquet", {"text": text[:9]})
    names = [str(tmp_path / "a.parquet"), str(small)]
    out = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=True, timeout=120)
    n, grown = map(int, out.stdout.split())
    assert n == sum(map(len, text)) > 70e6
    assert grown < 40_000  # kB, of which Arrow's allocator keeps most
