import json
import re

import pytest

from llmkit.measurement import suite
from llmkit.measurement.result import Result

SMALL = ("--shape", "1x16x16x64", "--batch-size", "1", "--trials", "1", "-q")


@pytest.fixture
def measured(monkeypatch):
    """Replace the measuring by given rates; the list holds one (case, rate) per result."""
    rates = [("encode", 100.0), ("decode", 50.0)]

    def measure(what, plan):
        for case, rate in rates:
            yield Result(what, case, "MB", rate, rate * 0.99, rate * 1.01, 7, 200.0, "a bound", 10**8)

    monkeypatch.setattr(suite, "measure", measure)
    return rates


def test_json_has_the_machine_and_every_case(llmkit, measured):
    run = llmkit("bench", "tokenize", "--json")
    found = json.loads(run.out)
    assert found["schema"] == "llmkit/bench/1"
    assert found["machine"].keys() >= {"cpu", "cores", "torch", "python"}
    assert "host" not in run.out.decode().lower().replace("hosted", "")
    one = found["results"][0]
    assert one.keys() >= {"what", "case", "unit", "median", "p10", "p90", "trials", "limit", "share", "peak_bytes"}
    assert one["share"] == 0.5


def test_without_a_name_everything_is_measured(llmkit, measured):
    found = json.loads(llmkit("bench", "--json").out)
    assert [r["what"] for r in found["results"][::2]] == list(suite.WHAT)


def test_a_pipe_gets_tab_separated_lines(llmkit, measured):
    rows = [line.split("\t") for line in llmkit("bench", "tokenize").out.decode().splitlines()]
    assert [row[:3] for row in rows] == [["tokenize", "encode", "100"], ["tokenize", "decode", "50"]]
    assert all(len(row) == 10 for row in rows)


def test_a_terminal_gets_a_table_that_fits(on_terminal, measured):
    run = on_terminal("bench", "tokenize")
    text = re.sub(r"\x1b\[[0-9;]*m", "", run.shown)
    assert "tokenize: encode" in text
    assert " 1 threads" not in text
    assert "100 MB/s" in text
    assert all(len(line) <= 60 for line in text.splitlines())


@pytest.mark.parametrize(("rate", "code"), [(100.0, 0), (97.0, 0), (80.0, 3), (130.0, 0)])
def test_a_regression_over_the_threshold_exits_3(llmkit, measured, tmp_path, rate, code):
    baseline = tmp_path / "before.json"
    baseline.write_bytes(llmkit("bench", "tokenize", "--json").out)
    measured[0] = ("encode", rate)
    run = llmkit("bench", "tokenize", "--baseline", str(baseline), "--fail-over", "5%", "--json")
    assert run.code == code
    found = json.loads(run.out)
    assert found["regressions"] == (["tokenize: encode"] if code else [])
    assert found["changes"]["tokenize: encode"]["ratio"] == pytest.approx(rate / 100 - 1)
    assert ("20.0% slower" in run.err) is bool(code)


@pytest.mark.parametrize("results", [[], [{"what": "load", "case": "model", "median": 1.0, "p10": 1.0, "p90": 1.0}]])
def test_a_gate_that_compares_nothing_exits_3_and_without_a_gate_it_is_a_warning(llmkit, measured, tmp_path, results):
    baseline = tmp_path / "before.json"
    baseline.write_text(json.dumps({"schema": "llmkit/bench/1", "results": results}))
    gate = llmkit("bench", "tokenize", "--baseline", str(baseline), "--fail-over", "5%")
    assert gate.code == 3
    assert "nothing was compared" in gate.err
    assert len(gate.out.splitlines()) == 2
    alone = llmkit("bench", "tokenize", "--baseline", str(baseline))
    assert (alone.code, "none of the cases" in alone.err) == (0, True)


def test_a_case_that_the_baseline_lacks_is_named(llmkit, measured, tmp_path):
    baseline = tmp_path / "before.json"
    baseline.write_bytes(llmkit("bench", "tokenize", "--json").out)
    measured.append(("count", 7.0))
    run = llmkit("bench", "tokenize", "--baseline", str(baseline), "--fail-over", "5%")
    assert (run.code, "not compared: tokenize: count" in run.err) == (0, True)


def test_a_real_measurement_far_below_its_baseline_exits_3(llmkit, monkeypatch, tmp_path):
    from importlib import import_module

    monkeypatch.setattr(import_module("llmkit.measurement.tokenize"), "_BYTES", 20_000)
    found = json.loads(llmkit("bench", "tokenize", "--trials", "1", "-q", "--json").out)
    for result in found["results"]:
        for rate in ("median", "p10", "p90"):
            result[rate] *= 100
    baseline = tmp_path / "before.json"
    baseline.write_text(json.dumps(found))
    run = llmkit("bench", "tokenize", "--trials", "1", "-q", "--baseline", str(baseline), "--fail-over", "50%")
    assert run.code == 3
    assert "slower than the baseline" in run.err


def test_a_change_is_shown_without_relying_on_color(on_terminal, llmkit, measured, tmp_path):
    baseline = tmp_path / "before.json"
    baseline.write_bytes(llmkit("bench", "tokenize", "--json").out)
    measured[0] = ("encode", 80.0)
    assert "-20.0% ▼" in on_terminal("bench", "tokenize", "--baseline", str(baseline)).shown


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("tokenise",), 2, "tokenize"),
        (("tokenize", "--fail-over", "5%"), 2, "--baseline"),
        (("tokenize", "--fail-over", "x", "--baseline", "y"), 2, "percentage"),
        (("tokenize", "--fail-over", "500%", "--baseline", "y"), 2, "from 0 to 100"),
        (("tokenize", "--baseline", "/nowhere.json"), 74, "/nowhere.json"),
        (("tokenize", "--shape", "6x384"), 2, "layers x width"),
        (("generate", "--model", "bert"), 2, "encoder"),
        (("train", "--model", "nope"), 2, "nope"),
        (("train", "--device", "cuda:99"), 2, "cuda:99"),
    ],
)
def test_mistakes_get_one_clear_line(llmkit, args, code, words):
    run = llmkit("bench", *args)
    assert run.code == code
    assert words in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("what", ["train", "generate", "load"])
def test_a_small_random_model_can_be_measured(llmkit, what):
    run = llmkit("bench", what, *SMALL, "--json")
    assert run.code == 0, run.err
    for result in json.loads(run.out)["results"]:
        assert 0 < result["p10"] <= result["median"] <= result["p90"]
        assert result["limit"] is None or result["limit"] > 0


@pytest.mark.parametrize(
    ("what", "model"), [("train", "bert"), ("train", "gpt"), ("generate", "gpt"), ("load", "moods")]
)
def test_a_stored_model_can_be_measured(llmkit, what, model):
    assert llmkit("bench", what, "--model", model, *SMALL).code == 0


@pytest.mark.parametrize(("what", "model"), [("train", "bert"), ("train", "gpt"), ("generate", "gpt")])
def test_no_share_of_a_limit_of_products_is_above_1(llmkit, what, model):
    found = json.loads(llmkit("bench", what, "--model", model, "--trials", "3", "-q", "--json").out)
    shares = {r["case"]: r["share"] for r in found["results"]}
    assert all(share < 1.05 for share in shares.values()), shares


@pytest.mark.parametrize("what", ["tokenize", "train-bpe"])
def test_tokenizers_can_be_measured(llmkit, monkeypatch, what):
    from importlib import import_module

    monkeypatch.setattr(import_module(f"llmkit.measurement.{what.replace('-', '_')}"), "_BYTES", 20_000)
    run = llmkit("bench", what, "--trials", "1", "-q", "--json")
    assert run.code == 0, run.err
    assert all(r["unit"] == "MB/s" for r in json.loads(run.out)["results"])
