import json
import re
import subprocess
import sys

import numpy as np
import pytest
from rich.cells import cell_len

TEXT = "the cat sat on the mat . a dog ran"
VIEWS = [
    (), ("--all-heads",), ("--layer", "1"), ("--layer", "1", "--head", "1"), ("--query", "cat"), ("--query", "3"),
    ("--layer", "0", "--head", "1", "--hide-sink", "--window", "2:6", "--scale", "log"),
]  # fmt: skip
ESCAPES = "\x1b[31m\x07\u202e red \x9b2J [/b] \x00"


def plain(text):
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def body(run):
    assert run.code == 0, run.err
    return json.loads(run.out)


def test_a_pipe_gets_one_tensor_a_line(llmkit, small_store):
    run = llmkit("inspect", "gpt")
    rows = [line.split("\t") for line in run.out.decode().splitlines()]
    assert all(len(row) == 5 for row in rows)
    stored = sum(int(np.prod([int(n) for n in row[2].split("x")])) for row in rows)
    assert stored == sum(int(row[3]) for row in rows)
    assert sum(int(row[4]) for row in rows) == 4 * stored
    assert b"\x1b" not in run.out


def test_json_has_totals_tensors_and_tree(llmkit):
    found = body(llmkit("inspect", "gpt", "--json"))
    assert found["schema"] == "llmkit/inspect/1"
    assert found["params"] == sum(t["params"] for t in found["tensors"]) == sum(n["params"] for n in found["tree"])
    assert (found["family"], found["layers"], found["heads"], found["files"]) == ("gpt2", 2, 2, 1)
    assert found["tensors"][0].keys() >= {"name", "dtype", "shape", "params", "bytes"}


def test_the_newest_model_is_taken_and_named(llmkit):
    run = llmkit("inspect")
    assert "gpt" in run.err
    assert llmkit("inspect", "-q").err == ""


def test_a_terminal_gets_a_tree_that_fits(on_terminal):
    run = on_terminal("inspect", "bert")
    lines = plain(run.shown).splitlines()
    assert lines[0].startswith("bert  BERT")
    assert any("├─" in line for line in lines)
    assert any("×2" in line for line in lines)
    assert all(cell_len(line) <= 60 for line in lines)


@pytest.mark.parametrize("columns", ["shape", "params,bytes,dtype", "bar"])
def test_columns_can_be_chosen(on_terminal, columns):
    assert on_terminal("inspect", "gpt", "--columns", columns).code == 0


def test_the_tree_costs_no_torch(small_store):
    code = (
        "import sys; from llmkit.cli.app import run\n"
        f"assert run(['inspect', {str(small_store / 'gpt')!r}]) == 0\n"
        "assert not {'torch', 'numpy', 'rich.console'} & sys.modules.keys(), 'too much was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_statistics_name_every_tensor(llmkit):
    found = body(llmkit("inspect", "gpt", "--stats", "--json"))
    assert {t["name"] for t in found["tensors"]} == {
        t["name"] for t in body(llmkit("inspect", "gpt", "--json"))["tensors"]
    }
    assert all(t["nan"] == 0 and abs(t["std"] - 0.3) < 0.2 for t in found["tensors"])
    assert len(llmkit("inspect", "gpt", "--stats").out.splitlines()) == len(found["tensors"])


def test_a_model_equals_itself_and_differs_from_others(llmkit):
    same = llmkit("inspect", "bert", "--diff", "bert")
    assert (same.code, same.out) == (0, b"")
    other = llmkit("inspect", "bert", "--diff", "moods", "--json")
    assert other.code == 3
    assert json.loads(other.out)["is_equal"] is False
    assert b"added\tclassifier" in llmkit("inspect", "bert", "--diff", "moods").out


def test_neighbours_of_a_word(llmkit):
    found = body(llmkit("inspect", "bert", "--neighbors", "cat", "--top", "3", "--json"))
    assert found["token"] == "cat"
    assert len(found["neighbors"]) == 3
    assert llmkit("inspect", "bert", "--neighbors", "zzzzqq").code == 4


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "{bad}", "--stats"),
        ("inspect", "{bad}", "--neighbors", "cat"),
        ("inspect", "{bad}", "--diff", "gpt"),
        ("inspect", "gpt", "--diff", "{bad}"),
        ("store", "diff", "gpt", "{bad}"),
    ],
)
def test_values_of_a_file_with_one_bit_flipped_are_refused_and_not_shown(llmkit, tmp_path, command):
    bad = tmp_path / "bad"
    assert llmkit("store", "export", "gpt", str(bad)).code == 0
    words = [word.format(bad=bad) for word in command]
    assert llmkit(*words).code == 0
    weights = bad / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    run = llmkit(*words)
    assert (run.code, run.out) == (4, b"")
    assert "model.safetensors: want sha256" in run.err


def test_one_difference_is_not_called_differences(llmkit, tmp_path):
    from safetensors.numpy import load_file, save_file

    assert llmkit("store", "export", "gpt", str(tmp_path / "a")).code == 0
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    name = sorted(tensors)[0]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_bytes((tmp_path / "a" / "config.json").read_bytes())
    save_file({**tensors, name: tensors[name] + 1}, tmp_path / "b" / "model.safetensors")
    run = llmkit("inspect", str(tmp_path / "a"), "--diff", str(tmp_path / "b"))
    assert run.err == f"1 difference, {len(tensors) - 1} tensors equal\n"


def test_attention_records_are_the_strongest_links(llmkit):
    run = llmkit("inspect", "gpt", "--text", TEXT, "--layer", "1", "--head", "0", "--top", "4")
    rows = [line.split("\t") for line in run.out.decode().splitlines()]
    assert [row[:2] for row in rows] == [["1", "0"]] * 4
    assert [float(row[4]) for row in rows] == sorted((float(row[4]) for row in rows), reverse=True)


def test_json_gives_the_weights_back(llmkit):
    found = body(llmkit("inspect", "gpt", "--text", TEXT, "--json"))
    n = len(found["tokens"])
    assert "".join(found["tokens"]) == TEXT
    assert len(found["heads"]) == 4
    for head in found["heads"]:
        weights = np.array(head["weights"])
        assert weights.shape == (n, n)
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
        for query, key, weight in head["links"]:
            assert weights[query][key] == pytest.approx(weight, abs=1e-6)


def test_every_pair_on_request_sums_to_one(llmkit):
    run = llmkit("inspect", "bert", "--text", TEXT, "--layer", "0", "--head", "1", "--all")
    rows = [line.split("\t") for line in run.out.decode().splitlines()]
    queries = {row[2] for row in rows}
    assert "[CLS]@0" in queries
    for query in queries:
        assert sum(float(row[4]) for row in rows if row[2] == query) == pytest.approx(1, abs=1e-4)


def test_saved_maps_equal_the_json(llmkit, tmp_path):
    from safetensors.numpy import load_file

    file = tmp_path / "maps.safetensors"
    file.touch(mode=0o640)
    assert llmkit("inspect", "gpt", "--text", TEXT, "--save", str(file)).code == 0
    assert file.stat().st_mode & 0o777 == 0o640  # the file that was there, filled
    maps = load_file(file)
    for head in body(llmkit("inspect", "gpt", "--text", TEXT, "--json"))["heads"]:
        np.testing.assert_allclose(maps[f"layer.{head['layer']}.head.{head['head']}"], head["weights"], atol=1e-6)


@pytest.mark.parametrize("flags", VIEWS)
@pytest.mark.parametrize("columns", [1, 20, 40])
def test_drawings_fit_a_narrow_terminal(on_terminal, monkeypatch, flags, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for text in (TEXT, TEXT * 3):
        run = on_terminal("inspect", "gpt", "--text", text, *flags)
        assert run.code == 0, run.err
        assert all(cell_len(line) <= max(20, columns) for line in plain(run.shown).splitlines())
        words = " ".join(re.findall("next:.*", plain(run.shown))).split()
        assert {w for w in words if w.startswith("-")} <= {
            "--layer", "--head", "--all-heads", "--query", "--hide-sink", "--json",
        }  # fmt: skip


@pytest.mark.parametrize("flags", VIEWS)
@pytest.mark.parametrize("color", ["plain", "256", "true"])
def test_drawings_fit_the_terminal(on_terminal, monkeypatch, flags, color):
    if color == "plain":
        monkeypatch.setenv("NO_COLOR", "1")
    if color == "true":
        monkeypatch.setenv("COLORTERM", "truecolor")
    run = on_terminal("inspect", "bert", "--text", TEXT, *flags)
    assert run.code == 0, run.err
    lines = plain(run.shown).splitlines()
    assert lines
    assert all(cell_len(line) <= 60 for line in lines)
    if color == "plain":
        assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|38|48);", run.shown)


def test_text_full_of_escapes_moves_nothing(on_terminal, llmkit):
    for flags in ((), ("--layer", "0", "--head", "0"), ("--query", "red")):
        shown = plain(on_terminal("inspect", "gpt", "--text", ESCAPES, *flags).shown)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert not re.search(b"[\x00-\x08\x0b-\x1f\x7f]", llmkit("inspect", "gpt", "--text", ESCAPES).out)


def test_text_comes_from_stdin(llmkit):
    piped = llmkit("inspect", "gpt", "--text", "-", stdin=TEXT.encode() + b"\n")
    assert piped.out == llmkit("inspect", "gpt", "--text", TEXT).out


def test_long_text_is_cut_and_that_is_said(llmkit):
    run = llmkit("inspect", "gpt", "--text", "the cat " * 60, "--json")
    assert "longer than the context of 48" in run.err
    assert len(body(run)["tokens"]) == 48


def test_links_are_the_same_with_and_without_maps_in_memory(llmkit):
    few = llmkit("inspect", "gpt", "--text", TEXT, "--top", "3").out.splitlines()
    many = llmkit("inspect", "gpt", "--text", TEXT, "--top", "11").out.splitlines()  # more than summaries keep
    assert set(few) < set(many)
    assert len(few) == 4 * 3


def test_more_maps_than_memory_holds_are_refused(llmkit, monkeypatch):
    from llmkit.cli import inspect_attention

    monkeypatch.setattr(inspect_attention, "_JSON_CELLS", 100)
    run = llmkit("inspect", "gpt", "--text", TEXT, "--json")
    assert run.code == 2
    assert "--layer and --head" in run.err


@pytest.mark.parametrize("flags", [("--layer", "1", "--head", "0"), (), ("--all-heads",), ("--query", "cat")])
def test_a_picture_is_written(llmkit, tmp_path, flags):
    file = tmp_path / "a.svg"
    run = llmkit("inspect", "bert", "--text", TEXT, *flags, "--svg", str(file))
    assert (run.code, run.out) == (0, b"")
    assert file.read_text().startswith("<svg")


@pytest.mark.parametrize("flags", [("--svg",), ("--text", TEXT, "--save")])
def test_a_file_of_the_model_is_never_written_over(llmkit, small_store, tmp_path, flags):
    before = (small_store / "gpt" / "model.safetensors").read_bytes()
    (tmp_path / "link").symlink_to(small_store / "gpt" / "model.safetensors")
    run = llmkit("inspect", "gpt", *flags, str(tmp_path / "link"))
    assert (run.code, run.out) == (2, b"")
    assert "is an input" in run.err
    assert (small_store / "gpt" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("--text", TEXT, "--layer", "2"), 2, "--layer takes 0 to 1"),
        (("--text", TEXT, "--head", "-1"), 2, "--head takes 0 to 1"),
        (("--text", TEXT, "--scale", "sqr"), 2, "sqrt"),
        (("--text", TEXT, "--window", "5:2"), 2, "0 <= a < b"),
        (("--text", TEXT, "--query", "xylophone"), 2, "not in the text"),
        (("--text", ""), 4, "no tokens"),
        (("--layer", "0"), 2, "needs a text"),
        (("--stats", "--hide-sink"), 2, "--hide-sink needs a text"),
        (("--stats", "--diff", "bert"), 2, "--diff and --stats exclude each other"),
        (("--text", TEXT, "--device", "nonsense"), 2, "there is no device 'nonsense' here"),
        (("--columns", "shapes"), 2, "shape"),
        (("--verify",), 4, "manifest"),
        (("--diff", "nope"), 2, "nope"),
        (("--svg", "/nowhere/at/all.svg"), 74, "/nowhere/at/all.svg"),
    ],
)
def test_mistakes_get_one_clear_line(llmkit, args, code, words):
    run = llmkit("inspect", "gpt", *args)
    assert run.code == code
    assert words in run.err
    assert run.err.count("\n") <= 2
    assert "Traceback" not in run.err


def test_an_empty_store_says_what_to_do(llmkit, tmp_path):
    run = llmkit("inspect", "--store", str(tmp_path))
    assert run.code == 2
    assert "llmkit pretrain" in run.err
