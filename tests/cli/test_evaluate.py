import json

import pytest

TEXT = "the cat sat on the mat . a dog ran to the red house and the cat saw it !\n" * 5
TABLE = "sentence\tlabel\n" + "the cat sat\tsad\na dog ran\tglad\nthe red house\tcalm\n" * 4


@pytest.fixture
def text(tmp_path):
    file = tmp_path / "text.txt"
    file.write_text(TEXT)
    return str(file)


@pytest.fixture
def table(tmp_path):
    file = tmp_path / "dev.tsv"
    file.write_text(TABLE)
    return str(file)


def body(run):
    return json.loads(run.out)


def test_a_decoder_gets_loss_perplexity_and_bits_per_byte_in_stated_windows(llmkit, text):
    (found,) = body(llmkit("evaluate", text, "--model", "gpt", "--json"))["files"]
    assert found["bits_per_byte"] == pytest.approx(found["nats"] / 0.6931471805599453 / len(TEXT))
    assert found["n_bytes"] == len(TEXT)
    assert found["n_scored"] == found["n_tokens"]
    assert (found["context"], found["stride"]) == (48, 24)


def test_a_pipe_gets_file_metric_and_value(llmkit, text):
    lines = [line.split("\t") for line in llmkit("evaluate", text, "--model", "gpt").out.decode().splitlines()]
    assert [metric for _, metric, _ in lines] == ["loss", "perplexity", "bits_per_byte", "accuracy"]
    assert {name for name, _, _ in lines} == {text}
    assert all(float(value) >= 0 for _, _, value in lines)


def test_an_encoder_gets_the_figures_of_hidden_tokens(llmkit, text):
    (found,) = body(llmkit("evaluate", text, "--model", "bert", "--json"))["files"]
    assert found["hidden_share"] == 0.15
    assert 0 < found["n_scored"] < found["n_tokens"]


def test_a_classifier_gets_accuracy_f1_and_its_confusion(llmkit, table):
    found = body(llmkit("evaluate", table, "--model", "moods", "--json"))
    assert found["task"] == "classification"
    (scores,) = found["files"]
    assert scores["accuracy"] in (0, 1 / 3, 2 / 3, 1)
    assert sum(map(sum, scores["confusion"])) == scores["n"] == 12


def test_the_model_chosen_is_the_newest_that_can_score_such_a_file(llmkit, text, table):
    assert llmkit("evaluate", text).err == "model: gpt\n"
    assert llmkit("evaluate", table).err == "model: moods\n"
    assert llmkit("evaluate", table, "--field", "sentence").err == "model: gpt\n"


def test_several_files_are_scored_one_by_one_and_stdin_is_a_file(llmkit, text, tmp_path):
    empty = tmp_path / "other.txt"
    empty.write_text("a dog ran .")
    run = llmkit("evaluate", text, str(empty), "-", "--model", "gpt", "--json", stdin=TEXT.encode())
    first, _, third = body(run)["files"]
    assert first["nats"] == third["nats"]


def test_a_pipe_is_read_without_being_named_and_a_terminal_gets_the_usage(llmkit, on_terminal, text):
    piped = llmkit("evaluate", "--model", "gpt", stdin=TEXT.encode())
    named = llmkit("evaluate", text, "--model", "gpt")
    assert piped.code == 0
    assert piped.out.replace(b"-\t", b"") == named.out.replace(f"{text}\t".encode(), b"")
    alone = on_terminal("evaluate", "--model", "gpt")
    assert (alone.code, alone.err.startswith("usage: llmkit evaluate")) == (2, True)


@pytest.mark.parametrize(("model", "told"), [("bert", True), ("gpt", False)])
def test_characters_without_a_token_are_counted_and_said(llmkit, model, told):
    run = llmkit("evaluate", "--model", model, "--json", stdin="the cat Ω Ωmega sat on the mat Ω\n".encode())
    (found,) = body(run)["files"]
    assert found["n_unknown"] == (7 if told else 0)
    assert ("7 characters have no token" in run.err) is told
    assert not llmkit("evaluate", "--model", model, "-q", stdin="the cat Ω\n".encode()).err


def test_json_names_the_model_as_a_user_would(llmkit, text):
    assert body(llmkit("evaluate", text, "--json"))["model"] == "gpt"


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (("--min", "accuracy=0"), 0),
        (("--min", "0"), 0),
        (("--min", "accuracy=1.01"), 3),
        (("--max", "bits_per_byte=0.001"), 3),
        (("--max", "1000"), 0),
        (("--max", "bits_per_bite=1"), 2),
        (("--min", "accuracy=good"), 2),
        (("--min", "accuracy=nan"), 2),
        (("--stride", "99"), 2),
    ],
)
def test_limits_decide_the_exit_code(llmkit, text, limits, code):
    run = llmkit("evaluate", text, "--model", "gpt", *limits)
    assert run.code == code
    if code == 3:
        assert run.out, "the figures are shown all the same"
        assert "error:" in run.err


def test_a_terminal_shows_how_it_was_measured(on_terminal, text, table):
    shown = on_terminal("evaluate", text, "--model", "gpt").shown
    assert "windows of 48 tokens, 24 apart" in shown
    assert "bits per byte" in shown
    assert "true \\ said" in on_terminal("evaluate", table, "--model", "moods").shown


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ((), 4, "stdin is empty"),
        (("nowhere.txt",), 74, "nowhere.txt"),
        (("text.txt", "--model", "moods"), 4, "not a table"),
    ],
)
def test_what_is_wrong_is_one_clear_line_with_its_code(llmkit, text, args, code, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = llmkit("evaluate", *args)
    assert run.code == code
    assert message in run.err
    assert "Traceback" not in run.err


def test_a_label_the_model_does_not_know_is_refused_with_its_line(llmkit, tmp_path):
    file = tmp_path / "dev.tsv"
    file.write_text(TABLE + "the mat\tangry\n")
    run = llmkit("evaluate", str(file), "--model", "moods")
    assert run.code == 4
    assert "angry" in run.err
