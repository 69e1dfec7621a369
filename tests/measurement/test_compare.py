import json

import pytest

from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.measurement.compare import compare, parse_percent, read_baseline
from llmkit.measurement.result import SCHEMA, Result


def result(median, spread=0.02, case="y"):
    return Result("x", case, "tok", median, median * (1 - spread), median * (1 + spread), 7)


def change(before, now):
    return compare([now], {before.name: before.as_json()})[now.name]


@pytest.mark.parametrize(
    ("before", "now", "threshold", "fails"),
    [
        (result(100), result(99), 0.05, False),  # within the threshold
        (result(100), result(90), 0.05, True),
        (result(100), result(90), 0.15, False),
        (result(100), result(120), 0.05, False),  # faster
        (result(100, 0.2), result(90, 0.2), 0.05, False),  # the spreads explain it
        (result(100, 0.2), result(60, 0.2), 0.05, True),  # they do not
        (result(100, 0.0), result(99.9, 0.0), 0.0, True),
    ],
)
def test_a_regression_is_over_the_threshold_and_over_the_noise(before, now, threshold, fails):
    assert change(before, now).is_regression(threshold) is fails


def test_only_cases_that_both_have_are_compared():
    assert compare([result(1, case="new")], {"x: y": result(1).as_json()}) == {}


def test_a_baseline_reads_back(tmp_path):
    file = tmp_path / "b.json"
    file.write_text(json.dumps({"schema": SCHEMA, "machine": {"cpu": "z"}, "results": [result(3).as_json()]}))
    cases, machine = read_baseline(file)
    assert cases["x: y"]["median"] == 3
    assert machine == {"cpu": "z"}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"schema": "other/1", "results": []}', "[" * 100_000,
     json.dumps({"schema": SCHEMA, "results": [{"what": "x", "median": None}]}),
     json.dumps({"schema": SCHEMA, "results": [{"what": "x", "median": 0, "p10": 1, "p90": 1}]})],
)  # fmt: skip
def test_anything_else_is_refused(tmp_path, content):
    file = tmp_path / "b.json"
    file.write_text(content)
    with pytest.raises(InputRefused):
        read_baseline(file)


def test_a_missing_baseline_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        read_baseline(tmp_path / "none")


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("5", 0.05), (" 12.5% ", 0.125), ("0", 0)])
def test_percentages(text, value):
    assert parse_percent(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "five", "-1%", "101%", "nan"])
def test_what_is_no_percentage_is_refused(text):
    with pytest.raises(UsageError):
        parse_percent(text)
