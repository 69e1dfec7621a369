"""Which model a command takes, while other processes change the store."""

import json
import shutil

import pytest

from llmkit.checkpoint.store import RunDirectory


@pytest.fixture
def pruned_when_read(small_store, tmp_path, monkeypatch):
    """A store with one run, whose newest step makes way for the next whenever a model is about to be loaded."""
    from llmkit import api

    store, real, done = tmp_path / "store", api._load, []

    def make(name):
        run = RunDirectory(store / "run")

        def save(step):
            def write(place):
                shutil.copytree(small_store / name, place, dirs_exist_ok=True)

            with run.lock():
                run.save(step, write, meta={})

        def load(path, *rest):
            if len(done) < 3:
                done.append(path.name)
                save(1 + len(done))
                shutil.rmtree(store / "run" / path.name)
            return real(path, *rest)

        save(1)
        monkeypatch.setattr(api, "_load", load)
        return str(store)

    make.done = done
    return make


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("gpt", ("generate", "--prompt", "the", "--max-tokens", "2")),
        ("bert", ("predict", "fill-mask", "the [MASK] sat")),
        ("moods", ("predict", "classify", "the cat")),
        ("gpt", ("evaluate", "text.txt", "--json")),
    ],
)
@pytest.mark.parametrize("named", [(), ("--model", "run")])
def test_a_step_pruned_before_it_was_read_makes_way_for_the_next(
    llmkit, pruned_when_read, tmp_path, monkeypatch, name, command, named
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat")
    run = llmkit(*command, *named, "--store", pruned_when_read(name))
    assert run.code == 0, run.err
    assert pruned_when_read.done == ["step-000001", "step-000002", "step-000003"]
    if command[0] == "evaluate":
        assert json.loads(run.out)["model"] == "run@4"


def test_a_step_that_was_named_is_not_replaced_by_another(llmkit, pruned_when_read):
    run = llmkit("generate", "--prompt", "the", "--model", "run@1", "--store", pruned_when_read("gpt"))
    assert run.code == 2
    assert "no step '1'" in run.err


@pytest.mark.parametrize(
    "command",
    [
        ("tokenize", "--tokenizer"),
        ("generate", "--max-tokens", "2", "--prompt", "the cat", "--model"),
        ("inspect", "--text", "the cat"),
        ("evaluate", "text.txt", "--model"),
    ],
)
def test_a_tokenizer_that_might_hang_is_refused_until_every_command_is_told_to_trust_it(
    llmkit, small_store, tmp_path, monkeypatch, command
):
    shutil.copytree(small_store / "gpt", tmp_path / "odd")
    spec = json.loads((tmp_path / "odd" / "tokenizer.json").read_text())
    split = {"type": "Split", "pattern": {"Regex": "[0-4]"}, "behavior": "Isolated", "invert": False}
    spec["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, spec["pre_tokenizer"]]}
    (tmp_path / "odd" / "tokenizer.json").write_text(json.dumps(spec))
    (tmp_path / "text.txt").write_text("the cat sat")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMKIT_TRUST_TOKENIZER", "0")
    arguments = (*command, "./odd")
    refused = llmkit(*arguments, stdin=b"the cat")
    assert refused.code == 4
    assert "fix: if you trust where it comes from: llmkit --trust-tokenizer COMMAND" in refused.err
    assert llmkit("--trust-tokenizer", *arguments, stdin=b"the cat").code == 0
    assert llmkit(*arguments, stdin=b"the cat").code == 0  # the environment has it now


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "--prompt", "x", "-m"), ("predict", "fill-mask", "x", "-m"), ("evaluate", "-", "-m"), ("inspect",),
        ("bench", "load", "-m"),
    ],
)  # fmt: skip
def test_a_tokenizer_given_for_a_model_is_called_one(llmkit, small_store, tmp_path, command):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "tokenizer.json").write_bytes((small_store / "gpt" / "tokenizer.json").read_bytes())
    run = llmkit(*command, str(tmp_path / "words"), stdin=b"the cat")
    assert run.code == 4
    assert "words is a tokenizer, not a model" in run.err
