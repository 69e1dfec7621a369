import gzip
import io

import pytest

from llmkit.data.labelled import read_table
from llmkit.data.stories import MOODS, story
from llmkit.errors import InputRefused, UsageError


def table(tmp_path, name, content):
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return tmp_path / name


def pairs(t):
    return [(row.text, t.labels[row.label]) for row in t.rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "sentence\tlabel\ngood film\tpos\nbad\tneg\n"),
        ("a.csv", 'id,Text,Sentiment\n1,good film,pos\n2,"bad",neg\n'),
        ("a.jsonl", '{"review": "good film", "class": "pos"}\n{"review": "bad", "class": "neg"}\n'),
        ("a.json", '[{"text": "good film", "label": "pos"}, {"text": "bad", "label": "neg"}]'),
        ("a.tsv.gz", gzip.compress(b"label\ttext\npos\tgood film\nneg\tbad\n", mtime=0)),
    ],
)
def test_columns_are_found_by_their_usual_names(tmp_path, name, content):
    found = read_table(table(tmp_path, name, content))
    assert pairs(found) == [("good film", "pos"), ("bad", "neg")]
    assert found.labels == ("neg", "pos")


def test_quotation_marks_in_tsv_swallow_no_rows(tmp_path):
    found = read_table(table(tmp_path, "a.tsv", 'sentence\tlabel\n"open\t1\nit \'s "so\t0\n"\t1\n'))
    assert [row.text for row in found.rows] == ['"open', "it 's \"so", '"']


def test_csv_cells_may_hold_commas_and_line_ends(tmp_path):
    found = read_table(table(tmp_path, "a.csv", 'text,label\n"a, b\nc",1\nplain,0\n'))
    assert [(row.text, row.line) for row in found.rows] == [("a, b\nc", 2), ("plain", 4)]


@pytest.mark.parametrize(
    "data",
    ['{"label": "b", "text": "x, y"}\n{"label": "a", "text": "z"}\n', "text\tlabel\nx, y\tb\nz\ta\n",
     'text,label\n"x, y",b\nz,a\n'],
)  # fmt: skip
def test_the_first_line_of_stdin_tells_what_kind_of_table_it_is(data, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data.encode()))))
    found = read_table("-")
    assert found.name == "stdin"
    assert [(row.text, found.labels[row.label]) for row in found.rows] == [("x, y", "b"), ("z", "a")]


def test_unknown_columns_are_asked_for_with_what_there_is(tmp_path):
    path = table(tmp_path, "a.csv", "foo,bar\nx,1\n")
    with pytest.raises(UsageError, match=r"which column holds the text\? there is: foo, bar") as e:
        read_table(path)
    assert "data.text" in e.value.hint
    with pytest.raises(UsageError, match="no column 'fo'") as e:
        read_table(path, text="fo", label="bar")
    assert "foo" in e.value.hint
    assert pairs(read_table(path, text="foo", label="bar")) == [("x", "1")]


def test_pairs_are_read_when_named_or_usual(tmp_path):
    path = table(tmp_path, "a.tsv", "premise\thypothesis\tlabel\na\tb\tyes\n")
    assert read_table(path).rows[0].pair == "b"
    assert read_table(path, text="premise").rows[0].pair is None
    assert read_table(path, text="hypothesis", pair="premise").rows[0].pair == "a"


def test_labels_are_ordered_by_number_if_they_are_numbers(tmp_path):
    rows = "".join(f"t{i}\t{i}\n" for i in (10, 9, 2, -1))
    assert read_table(table(tmp_path, "a.tsv", "text\tlabel\n" + rows)).labels == ("-1", "2", "9", "10")
    assert read_table(table(tmp_path, "b.jsonl", '{"text":"x","label":true}\n{"text":"y","label":false}')).labels == (
        "false",
        "true",
    )


def test_a_validation_table_uses_the_training_labels(tmp_path):
    training = read_table(table(tmp_path, "a.tsv", "text\tlabel\nx\ta\ny\tb\nz\tc\n"))
    validation = read_table(table(tmp_path, "b.tsv", "text\tlabel\nw\tc\nx\ta\n"), labels=training.labels)
    assert [row.label for row in validation.rows] == [2, 0]
    with pytest.raises(InputRefused, match=r"c.tsv:3: label 'd' is not among"):
        read_table(table(tmp_path, "c.tsv", "text\tlabel\nw\tc\nx\td\n"), labels=training.labels)
    assert validation.report(training).n_overlap == 1


def test_the_report_counts_what_is_odd(tmp_path):
    content = "text\tlabel\nx\t1\nx\t1\nx\t0\n \t1\ny\t1\n"
    report = read_table(table(tmp_path, "a.tsv", content)).report()
    assert (report.n_rows, report.n_empty, report.n_duplicates, report.n_conflicts) == (4, 1, 2, 1)
    assert report.per_label == (("0", 1), ("1", 3))
    assert "1 75%" in report.lines()[0]
    assert len(report.lines()) == 3


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tsv", "", "has no rows"),
        ("a.tsv", "text\tlabel\n", "has no rows"),
        ("a.tsv", "text\tlabel\n \t1\n", "no rows with text"),
        ("a.tsv", "text\tlabel\nonly\n", "a.tsv:2: 1 columns where the header has 2"),
        ("a.tsv", "text\ttext\nx\ty\n", "named twice"),
        ("a.tsv", "text\tlabel\nx\t\n", "a.tsv:2: the label is empty"),
        ("a.jsonl", '{"text": "x", "label": 0.5}\n', "a.jsonl:1: the label is neither"),
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": "x"}\n', "a.jsonl:2: no field 'label'"),
        ("a.csv", 'text,label\nx,1\n"a"b,2\n', "a.csv:3: broken CSV"),
        ("a.txt", "x\t1\n", "not a table by its name"),
    ],
)
def test_broken_tables_are_refused_with_file_and_line(tmp_path, name, content, says):
    with pytest.raises(InputRefused) as e:
        read_table(table(tmp_path, name, content))
    assert says in e.value.message


def test_a_text_column_taken_for_the_label_is_noticed(tmp_path):
    rows = "".join(f"{i}\ttext {i}\n" for i in range(1500))
    with pytest.raises(InputRefused, match="more than 1000 different labels"):
        read_table(table(tmp_path, "a.tsv", "text\tlabel\n" + rows))


def test_stories_are_a_table_of_moods():
    found = read_table("stories", stories=200, seed=3)
    assert found.labels == MOODS
    assert pairs(found)[7] == (story(3, 7).text, story(3, 7).mood)
    held_out = read_table("stories", stories=50, seed=3, held_out=True, labels=found.labels)
    assert held_out.report(found).n_overlap == 0
