import json
import re

import pytest


def records(out):
    return [json.loads(line) for line in out.decode().splitlines()]


def fill(run, *args, **options):
    return run("predict", "fill-mask", *args, **options)


def label(run, *args, **options):
    return run("predict", "classify", *args, **options)


def test_each_line_comes_back_filled_in_order(llmkit):
    lines = ["the [MASK] sat on the mat .", "no hole", "", "a [MASK] ran to the [MASK] house", "[MASK]"] * 40
    run = fill(llmkit, stdin="\n".join(lines).encode())
    out = run.out.decode().splitlines()
    assert len(out) == len(lines)
    assert "[MASK]" not in run.out.decode()
    for before, after in zip(lines, out, strict=True):
        assert re.fullmatch(re.escape(before).replace(r"\[MASK\]", r"\S+"), after)


def test_a_line_is_answered_the_same_alone_and_among_many(llmkit):
    lines = ["the [MASK] sat", "a dog ran to the red house and the cat saw [MASK] and the dog saw the [MASK] !"] * 5
    many = records(fill(llmkit, "--json", stdin="\n".join(lines).encode()).out)
    for line, record in zip(lines[:2], many, strict=False):
        (alone,) = records(fill(llmkit, "--json", line).out)
        assert alone["filled"] == record["filled"]
        for one, other in zip(alone["masks"], record["masks"], strict=True):
            assert [g["id"] for g in one["top"]] == [g["id"] for g in other["top"]]
            assert [g["prob"] for g in one["top"]] == pytest.approx([g["prob"] for g in other["top"]], rel=1e-4)


def test_top_gives_words_and_probabilities_as_fields(llmkit):
    fields = fill(llmkit, "--top", "3", "the [MASK] sat on the [MASK]").out.decode().rstrip("\n").split("\t")
    (record,) = records(fill(llmkit, "--top", "3", "--json", "the [MASK] sat on the [MASK]").out)
    guesses = [guess for mask in record["masks"] for guess in mask["top"]]
    assert fields[0::2] == [guess["word"] for guess in guesses]
    assert [float(f) for f in fields[1::2]] == pytest.approx([g["prob"] for g in guesses], abs=1e-4)
    assert len(guesses) == 6


def test_a_line_without_a_mask_passes_and_is_said_once(llmkit):
    run = fill(llmkit, stdin=b"the [MASK] sat\nthe cat\nthe dog\n")
    assert run.code == 0
    assert run.out.decode().splitlines()[1:] == ["the cat", "the dog"]
    assert run.err.count("has no mask") == 1
    assert "line 2" in run.err


def test_other_spellings_of_the_mask_mean_the_same(llmkit):
    a = fill(llmkit, "the [MASK] sat").out
    assert a == fill(llmkit, "the <mask> sat").out == fill(llmkit, "the <|mask|> sat").out


def test_a_line_far_longer_than_the_context_is_read_around_its_masks(llmkit):
    far = "the cat sat on the mat . " * 40
    (record,) = records(fill(llmkit, "--json", f"{far} [MASK] {far} [MASK] {far}").out)
    assert [len(mask["top"]) for mask in record["masks"]] == [5, 5]
    assert record["filled"].startswith(far)


def test_json_lines_keep_their_id(llmkit):
    line = json.dumps({"id": "x7", "sentence": "the [MASK] sat"}).encode()
    (record,) = records(fill(llmkit, "--jsonl", "-", "--field", "sentence", stdin=line).out)
    assert record["id"] == "x7"
    assert record["schema"] == "llmkit/predict-fill-mask/1"
    assert record["text"][record["masks"][0]["start"] : record["masks"][0]["end"]] == "[MASK]"


def test_a_terminal_shows_the_word_in_place_and_bars(on_terminal, llmkit):
    word = json.loads(fill(llmkit, "--json", "the [MASK] sat").out)["masks"][0]["top"][0]["word"]
    shown = fill(on_terminal, "the [MASK] sat").shown
    assert shown.splitlines()[0] == f"the \x1b[1;32m{word}\x1b[0m sat"
    assert len(shown.splitlines()) == 6
    assert all(re.fullmatch(r" +\d+\.\d% [█▏▎▍▌▋▊▉ ]{20} \S+", line) for line in shown.splitlines()[1:])


def test_without_colour_the_filled_word_is_in_brackets(on_terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = fill(on_terminal, "the [MASK] sat").shown
    assert re.match(r"the \[\S+\] sat\n", shown)
    assert "\x1b" not in shown


def test_escape_sequences_in_a_line_never_reach_a_terminal(on_terminal):
    for run in (fill(on_terminal, "\x1b[2J the [MASK]\x07"), label(on_terminal, "\x1b[2J the cat\x07")):
        assert "␛[2J" in run.shown
        assert "\x1b[2J" not in run.shown
        assert "\x07" not in run.shown


def test_each_line_gets_a_label_and_its_probability(llmkit):
    lines = ["the cat sat", "a dog ran to the red house", "", "the mat"] * 30
    out = label(llmkit, stdin="\n".join(lines).encode() + b"\n").out.decode().splitlines()
    assert len(out) == len(lines)
    found = [line.split("\t") for line in out]
    assert {name for name, _ in found} <= {"sad", "glad", "calm"}
    assert all(1 / 3 - 1e-4 <= float(prob) <= 1 for _, prob in found)
    assert out[:4] == out[4:8]


def test_json_labels_hold_all_probabilities(llmkit):
    (record,) = records(label(llmkit, "--json", "the cat sat").out)
    assert list(record["probs"]) == ["sad", "glad", "calm"]
    assert sum(record["probs"].values()) == pytest.approx(1, abs=1e-5)
    assert record["label"] == max(record["probs"], key=record["probs"].get)
    assert record["prob"] == max(record["probs"].values())


def test_pairs_come_from_two_fields_and_count_as_pairs(llmkit):
    line = json.dumps({"text": "the cat", "other": "a dog"}).encode()
    paired = records(label(llmkit, "--jsonl", "-", "--pair", "other", stdin=line).out)
    alone = records(label(llmkit, "--jsonl", "-", stdin=line).out)
    assert paired[0]["probs"] != alone[0]["probs"]


def test_a_text_longer_than_the_context_is_cut_and_said_once(llmkit):
    long = b"the cat sat on the mat " * 60
    run = label(llmkit, stdin=long + b"\n" + long)
    assert run.code == 0
    assert run.err.count("longer than the model's context") == 1


def test_labels_on_a_terminal_fit_its_width(on_terminal):
    shown = label(on_terminal, "the cat sat on the mat " * 5).shown.rstrip("\n")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert len(plain) <= 60
    assert plain.endswith("…")


@pytest.mark.parametrize(
    ("args", "stdin", "code", "message"),
    [
        (("fill-mask", "--model", "gpt", "x"), b"", 2, "cannot fill masks, but it can generate text"),
        (("fill-mask", "--model", "gpt", "x"), b"", 2, "one that can: --model bert;"),
        (("classify", "--model", "bert", "x"), b"", 2, "llmkit predict fill-mask --model bert"),
        (("classify", "--pair", "b", "x"), b"", 2, "--pair needs --jsonl"),
        (("fill-mask", "--jsonl", "-", "x"), b"", 2, "exclude each other"),
        (("fill-mask", "--top", "0", "x"), b"", 2, "--top"),
        (("fill-mask", "--jsonl", "nowhere.jsonl"), b"", 74, "nowhere.jsonl"),
        (("classify", "--jsonl", "-"), b'{"txt": "a"}', 2, "did you mean 'txt'"),
        (("classify", "--jsonl", "-"), b'{"text": "a"}\n{"txt": "a"}', 4, "stdin:2: no text in the field 'text'"),
        (("fill-mask",), b"a\n\xff\n", 4, "line 2, byte 0 is not valid UTF-8"),
        (("fil-mask",), b"", 2, "fil-mask"),
    ],
)
def test_what_is_wrong_is_one_clear_line_with_its_code(llmkit, args, stdin, code, message):
    run = llmkit("predict", *args, stdin=stdin)
    assert run.code == code
    assert message in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("bad", [b"not json", b'{"txt": "x"}', b'{"text": 3}'])
def test_what_comes_before_a_bad_line_is_answered(llmkit, bad, monkeypatch):
    monkeypatch.setattr("llmkit.cli.lines.PATIENCE", 1.0)  # so that all lines are one group
    good = [b'{"text": "the [MASK] sat", "id": %d}' % i for i in range(2)]
    for command in (("predict", "fill-mask", "-m", "bert"), ("generate", "-m", "gpt", "--field", "text")):
        run = llmkit(*command, "--jsonl", "-", stdin=b"\n".join([*good, bad, good[0]]))
        assert run.code == 4
        assert "stdin:3" in run.err
        assert [record["id"] for record in records(run.out)] == [0, 1]


def test_an_empty_store_names_the_recipe_to_run(llmkit, tmp_path):
    assert "llmkit pretrain bert-mini" in fill(llmkit, "--store", str(tmp_path), "x").err.splitlines()[0]
    assert "llmkit finetune sst2" in label(llmkit, "--store", str(tmp_path), "x").err.splitlines()[0]


@pytest.mark.parametrize("command", ["fill-mask", "classify"])
def test_a_terminal_without_text_gets_short_help_and_never_hangs(on_terminal, command):
    run = on_terminal("predict", command)
    assert run.code == 2
    assert f"usage: llmkit predict {command} TEXT" in run.err


@pytest.mark.parametrize("command", ["fill-mask", "classify"])
def test_the_name_of_a_file_is_a_text_and_that_is_said(llmkit, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my cat.txt").write_text("the cat sat")
    run = llmkit("predict", command, "my cat.txt", "the cat", "a" * 5000)
    assert run.code == 0
    assert run.out.count(b"\n") == 3
    assert run.err.count(f"predict {command} < 'my cat.txt'") == 1
    assert llmkit("predict", command, "-q", "my cat.txt").err == ""


@pytest.mark.parametrize("command", ["fill-mask", "classify"])
def test_no_lines_in_is_no_lines_out(llmkit, command):
    run = llmkit("predict", command, stdin=b"")
    assert (run.code, run.out) == (0, b"")
