import json

import pytest


@pytest.fixture
def preview(llmkit, tmp_path):
    def run(recipe, *more):
        store = tmp_path / "runs"
        done = llmkit("pretrain", recipe, "--preview", "2", "--store", str(store), "--set", "data.stories=60", *more)
        assert not store.exists()
        return done

    return run


def test_a_pipe_gets_rows_whose_input_differs_from_the_text_where_it_says_so(preview):
    rows = [line.split("\t") for line in preview("bert-mini").out.decode().splitlines()]
    lanes = {name: {(r[0], r[2]): (r[3], r[4]) for r in rows if r[1] == name} for name in ("text", "input")}
    assert lanes["text"].keys() == lanes["input"].keys()
    changed = {k for k, (token, _) in lanes["input"].items() if token != lanes["text"][k][0]}
    hidden = {k for k, (token, mark) in lanes["input"].items() if mark == "hidden"}
    assert hidden
    assert all(lanes["input"][k][0] == " [MASK]" for k in hidden)
    assert changed == {k for k, (_, mark) in lanes["input"].items() if mark in ("hidden", "replaced")}


def test_json_has_ids_and_texts(preview):
    found = json.loads(preview("gpt-mini", "--json").out)
    assert found["schema"] == "llmkit/preview/1"
    assert found["objective"] == "causal"
    lanes = found["examples"][1]["lanes"]
    assert [i for i, _, _ in lanes["input"]][1:] == [i for i, _, _ in lanes["target"]][:-1]


def test_the_examples_follow_from_the_seed(preview):
    assert preview("bert-mini").out == preview("bert-mini").out
    assert preview("bert-mini").out != preview("bert-mini", "--set", "train.seed=1").out


def test_of_a_run_of_long_examples_alone_as_many_are_shown_as_are_asked_for(preview, llmkit, tmp_path):
    for count in (1, 5, 40):
        shape = ["--set", "objective.long_share=1", "--set", "data.stories=60", "--preview", str(count), "--json"]
        done = llmkit("pretrain", "bert-mini", "--store", str(tmp_path / "runs"), *shape)
        assert done.code == 0, done.err
        assert len(json.loads(done.out)["examples"]) == count
