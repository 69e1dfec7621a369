import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.checkpoint.refs import check_name
from llmkit.errors import UsageError
from llmkit.training.sweep import Result, Variant, overall_code, ranking, read_result, run_name, variants


def test_a_sweep_is_every_combination_the_last_key_running_fastest():
    found = variants("gpt", ["train.lr=1e-4,3e-4", "train.optimizer=adamw,muon"])
    assert [v.overrides for v in found] == [
        ["train.lr=1e-4", "train.optimizer=adamw"],
        ["train.lr=1e-4", "train.optimizer=muon"],
        ["train.lr=3e-4", "train.optimizer=adamw"],
        ["train.lr=3e-4", "train.optimizer=muon"],
    ]
    assert found[1].run == "gpt-lr-1e-4-optimizer-muon"


def test_keys_that_end_alike_are_named_in_full():
    assert variants("a", ["data.seed=1", "train.seed=2"])[0].run == "a-data.seed-1-train.seed-2"


def test_commas_in_brackets_and_quotes_belong_to_a_value():
    found = variants("a", ["data.train=[x.txt, y.txt],z.txt", "train.sample_prompt='a, b'"])
    assert [v.settings["data.train"] for v in found] == ["[x.txt, y.txt]", "z.txt"]
    assert found[0].settings["train.sample_prompt"] == "'a, b'"


@given(st.lists(st.text(min_size=1, max_size=120), min_size=1, max_size=6, unique=True))
def test_every_run_has_a_name_of_its_own_that_may_be_one(values):
    listed = [json.dumps(v) for v in values]
    found = variants("base", [f"data.train={','.join(listed)}"])
    names = [v.run for v in found]
    assert len(set(names)) == len(values)
    assert [check_name(name) for name in names] == names


def test_a_long_name_is_cut_and_still_its_own():
    first, second = (run_name("base", {"data.train": "x" * 200 + end}) for end in "ab")
    assert first != second
    assert len(first) <= 80


@pytest.mark.parametrize(
    ("axes", "complaint"),
    [
        (["train.lr"], "give a key"),
        (["train.lr="], "give a key"),
        (["train.lr=1e-4,,3e-4"], "give a key"),
        (["=1"], "give a key"),
        (["a=1", "a=2"], "twice"),
        (["a=1,1"], "twice"),
        (["a=" + ",".join(map(str, range(17))), "b=" + ",".join(map(str, range(17)))], "289 runs"),
    ],
)
def test_what_is_no_sweep_is_refused(axes, complaint):
    with pytest.raises(UsageError) as refused:
        variants("a", axes)
    assert complaint in f"{refused.value.message} {refused.value.hint}"


def result(code=0, loss=None, best=None, **scores):
    return Result(Variant("r", {"k": "v"}), Path("r"), code, loss=loss, scores=scores, best=best or scores)


def test_the_best_run_is_the_finished_one_with_the_lowest_loss():
    results = [result(loss=2.0), result(5, loss=0.1), result(loss=1.0), result(loss=1.0)]
    scored = [result(code=r.exit_code, loss=r.loss + 1) for r in results]
    for runs in (results, scored):
        assert ranking(runs, finetune=False).best(runs) is runs[2]


def test_fine_tuned_runs_are_compared_by_the_accuracy_of_the_weights_they_keep():
    runs = [
        result(accuracy=0.9, best={"accuracy": 0.91}),
        result(accuracy=0.8, best={"accuracy": 0.95}),
    ]
    order = ranking(runs, finetune=True)
    assert (order.metric, order.best(runs)) == ("accuracy", runs[1])


def test_without_a_finished_run_none_is_best():
    runs = [result(5), result(6)]
    assert ranking(runs, finetune=False).best(runs) is None


@pytest.mark.parametrize(
    ("codes", "code"), [([0, 0], 0), ([0, 5], 0), ([5, 5], 5), ([0, 6], 6), ([2, 5], 2), ([0, -9], 137)]
)
def test_the_exit_code_tells_whether_the_sweep_came_through(codes, code):
    assert overall_code([result(c) for c in codes]) == code


def test_a_run_without_a_log_is_a_row_all_the_same(tmp_path):
    found = read_result(Variant("gone", {}), tmp_path / "gone", -9)
    assert (found.state, found.step, found.loss) == ("killed", 0, None)


def test_a_log_becomes_a_row(tmp_path):
    lines = [{"event": "start", "step": 0, "steps": 20}]
    for i in range(1, 21):
        lines.append({"event": "step", "step": i, "loss": 20.0 - i, "tokens": 100 * i, "seconds": 0.5 * i})
    lines += [{"event": "eval", "step": 10, "loss": 1.0, "better": True}, {"event": "eval", "step": 20, "loss": 1.5}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_result(Variant("a", {}), tmp_path, 0)
    assert (found.loss, found.scores["loss"], found.best["loss"], found.best_step) == (0.5, 1.5, 1.0, 10)
    assert (found.seconds, found.tokens_per_second) == (10.0, 200.0)
