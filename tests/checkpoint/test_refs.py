import os

import pytest

from llmkit.checkpoint.refs import (
    check_name,
    default_store,
    newest,
    newest_tokenizer,
    reference,
    resolve,
    run_names,
)
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import InputRefused, LlmkitError, StorageError, UsageError


def save(store, name, *steps, family="gpt2", tokenizer=True):
    def write(directory):
        (directory / "config.json").write_text(f'{{"model_type": "{family}"}}')
        (directory / "model.safetensors").write_bytes(b"x" * 100)
        if tokenizer:
            (directory / "tokenizer.json").write_text("{}")

    run = RunDirectory(store / name)
    with run.lock():
        for step in steps:
            run.save(step, write, meta={})
    return run


def age(path, seconds):
    for file in (path, *path.iterdir()):
        os.utime(file, (1e9 - seconds, 1e9 - seconds))


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "runs"
    save(found, "gpt-mini", 500, 1000)
    save(found, "bert-mini", 300, family="bert")
    return found


def test_a_name_is_the_newest_step_and_a_number_picks_one(store):
    assert resolve("gpt-mini", store) == store / "gpt-mini" / "step-001000"
    assert resolve("gpt-mini@500", store) == store / "gpt-mini" / "step-000500"
    assert resolve("gpt-mini@000500", store) == store / "gpt-mini" / "step-000500"


def test_a_newest_step_that_is_not_whole_is_refused_with_the_older_one_as_hint(store):
    (store / "gpt-mini" / "step-001000" / "model.safetensors").unlink()
    with pytest.raises(InputRefused, match="step-001000") as refusal:
        resolve("gpt-mini", store)
    assert refusal.value.hint == "step 500 is whole: gpt-mini@500"
    assert newest(store, lambda path, config: config["model_type"] == "gpt2").name == "step-000500"
    (store / "gpt-mini" / "step-000500" / "manifest.json").write_text("{}")
    with pytest.raises(InputRefused, match="step-001000") as refusal:
        resolve("gpt-mini", store)
    assert refusal.value.hint == "no step of this run is whole"


def test_any_directory_is_a_reference_by_path(store, tmp_path):
    assert resolve(str(store / "gpt-mini"), store).name == "step-001000"
    assert resolve("runs/gpt-mini/step-000500", store).name == "step-000500"
    assert resolve("./runs/bert-mini", store).name == "step-000300"
    plain = tmp_path / "mymodel"
    plain.mkdir()
    (plain / "config.json").write_text("{}")
    assert resolve("mymodel", store) == type(plain)("mymodel")  # a bare word that only the working directory knows


def test_a_tokenizer_directory_in_the_store_is_a_reference(store):
    (store / "tok").mkdir()
    (store / "tok" / "tokenizer.json").write_text("{}")
    assert resolve("tok", store) == store / "tok"


@pytest.mark.parametrize(
    ("ref", "error", "says"),
    [
        ("gpt-mni", UsageError, "'gpt-mini'"),
        ("bert", UsageError, "'bert-mini'"),
        ("zzzzzz", UsageError, "llmkit store ls"),
        ("gpt-mini@501", UsageError, "'500'"),
        ("gpt-mini@7", UsageError, "500, 1000"),
        ("gpt-mini@", UsageError, "500, 1000"),
        ("gpt-mini@-1", UsageError, "500"),
        ("gpt-mini@" + "9" * 400, UsageError, "500"),
        ("gpt-mini@²", UsageError, "500"),
        ("", UsageError, ""),
        ("../secret", InputRefused, ""),
        ("./nowhere", StorageError, ""),
        ("/nowhere/at/all", StorageError, ""),
        ("~nobody-of-this-name/x", StorageError, ""),
        ("./file.txt", InputRefused, "has config.json in it"),
        ("runs/tok/tokenizer.json", InputRefused, "runs/tok"),
        ("a\0b", UsageError, ""),
        ("./a\0b", LlmkitError, ""),
        ("\x1b[2J", UsageError, ""),
        ("x" * 5000, UsageError, ""),
        ("./" + "x" * 5000, StorageError, ""),
    ],
)
def test_a_wrong_reference_is_one_line_and_a_hint(ref, error, says, store, tmp_path):
    (tmp_path / "file.txt").write_text("")
    (store / "tok").mkdir()
    (store / "tok" / "tokenizer.json").write_text("{}")
    (tmp_path.parent / "secret").mkdir(exist_ok=True)
    with pytest.raises(error) as refusal:
        resolve(ref, store)
    assert "\n" not in refusal.value.message
    assert says in f"{refusal.value.message} {refusal.value.hint}"


@pytest.mark.parametrize("name", ["..", ".", "a/b", "", "-x", ".x", "a b", "a\n", "é", "a\x1b", "x" * 129, "a@5"])
def test_a_name_that_could_leave_the_store_or_trip_a_shell_is_refused(name):
    with pytest.raises(UsageError):
        check_name(name)
    assert check_name("gpt-mini_2.1") == "gpt-mini_2.1"


def test_names_in_the_store_that_could_not_be_typed_are_passed_over(store):
    for name in ("\x1b[2J", "a b", ".hidden", "x\ny", "$(id)"):
        (store / name).mkdir()
    (store / "file").write_text("")
    assert run_names(store) == ["bert-mini", "gpt-mini"]


def test_an_empty_store_says_what_to_do(tmp_path):
    assert run_names(tmp_path / "none") == []
    with pytest.raises(UsageError) as refusal:
        resolve("x", tmp_path / "none")
    assert "empty" in refusal.value.hint


def test_newest_is_by_time_of_writing_and_asks_only_small_files(store):
    age(store / "gpt-mini" / "step-001000", 100)
    age(store / "bert-mini" / "step-000300", 50)
    asked = []
    assert newest(store, lambda path, config: asked.append(config["model_type"]) or True) == (
        store / "bert-mini" / "step-000300"
    )
    assert newest(store, lambda path, config: config["model_type"] == "gpt2") == store / "gpt-mini" / "step-001000"
    assert newest(store, lambda path, config: False) is None
    assert asked == ["bert"]


def test_newest_passes_over_what_cannot_be_read(store):
    (store / "broken").mkdir()
    (store / "broken" / "config.json").write_text("{")
    assert newest(store, lambda path, config: True) is not None

    def refuses(path, config):
        raise InputRefused("unknown family")

    assert newest(store, refuses) is None


def test_newest_tokenizer_finds_runs_and_bare_tokenizers(store):
    age(store / "gpt-mini" / "step-001000", 100)
    age(store / "bert-mini" / "step-000300", 50)
    assert newest_tokenizer(store) == store / "bert-mini" / "step-000300"
    (store / "tok").mkdir()
    (store / "tok" / "tokenizer.json").write_text("{}")
    assert newest_tokenizer(store) == store / "tok"
    assert newest_tokenizer(store / "nowhere") is None


def test_reference_is_what_a_user_would_type(store):
    assert reference(store / "gpt-mini" / "step-000500", store) == "gpt-mini@500"
    assert reference(store / "tok", store) == "tok"
    assert reference(store.parent / "elsewhere", store) == str(store.parent / "elsewhere")


def test_the_store_is_the_option_then_the_environment_then_runs(monkeypatch, tmp_path):
    monkeypatch.delenv("LLMKIT_STORE", raising=False)
    assert str(default_store(None)) == "runs"
    monkeypatch.setenv("LLMKIT_STORE", "/models")
    assert str(default_store(None)) == "/models"
    assert default_store(tmp_path) == tmp_path
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="file is not a directory"):
        default_store(tmp_path / "file")


def test_a_link_to_itself_in_the_store_is_passed_over(store):
    (store / "loop").symlink_to("loop")
    assert run_names(store) == ["bert-mini", "gpt-mini"]


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory"):
        run_names(tmp_path / "file")
