import json

import pytest

from llmkit.errors import InputRefused, StorageError
from llmkit.training.events import End, Evaluation, Stage, Start, Step
from llmkit.training.history import read_histories
from llmkit.training.logs import MetricsFile


def step(n, loss, seconds):
    return Step(n, loss, {}, 1e-3, 0.5, 64 * n, 18234.4, 12.0, seconds)


def write(directory, events, resumed=0):
    directory.mkdir(exist_ok=True)
    metrics = MetricsFile(directory, resumed)
    for event in events:
        metrics(event)
    metrics.close()
    return directory


def start(n):
    return Start(n, "a", 40, 100, 4, 64, "cpu", 2, 50)


def test_a_run_reads_back_as_it_was_written(tmp_path):
    events = [start(0), step(10, 3.0, 1.0), Stage(10, 1), step(20, 2.0, 2.0), Evaluation(20, {"loss": 2.5}, 0.1, True)]
    write(tmp_path / "a", [*events, End(20, "finished", 2.0, {})])
    (history,) = read_histories(tmp_path / "a")
    assert (history.name, history.steps, history.end, history.stages) == ("a", 40, "finished", [10])
    assert [(p.step, p.tokens, p.seconds, p.values["loss"]) for p in history.points] == [
        (10, 640, 1.0, 3.0), (20, 1280, 2.0, 2.0),
    ]  # fmt: skip
    assert history.best == history.validation[0]
    assert (history.best.tokens, history.best.seconds) == (1280, 2.0)


def test_a_line_that_is_being_written_is_not_there_yet(tmp_path):
    run = write(tmp_path / "a", [start(0), step(10, 3.0, 1.0)])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "step": 20, "lo')
    (history,) = read_histories(run)
    assert [p.step for p in history.points] == [10]
    assert history.end == ""


def test_a_validation_between_two_lines_of_the_log_lies_between_them_in_time(tmp_path):
    events = [start(0), step(10, 3.0, 1.0), Evaluation(15, {"loss": 2.5}, 0.1), step(20, 2.0, 3.0)]
    (history,) = read_histories(write(tmp_path / "a", events))
    assert (history.validation[0].tokens, history.validation[0].seconds) == (960, 2.0)


@pytest.mark.parametrize("separator", ["\t", ",", " "])
def test_a_table_of_another_trainer_is_a_history_for_each_run_in_it(separator, tmp_path):
    rows = [
        ("run", "iter", "train_loss", "val_loss", "seconds"), ("x", 0, 4.2, 4.25, 0), ("x", 10, 3.9, "", 2),
        ("y", 0, 4.1, 4.3, "nan"),
    ]  # fmt: skip
    if separator == " ":
        rows = [r[:3] + r[4:] for r in rows]
    log = tmp_path / "nano.tsv"
    log.write_text("\n".join(separator.join(map(str, r)) for r in rows))
    x, y = read_histories(log)
    assert [(p.step, p.seconds, p.values["loss"]) for p in x.points] == [(0, 0, 4.2), (10, 2, 3.9)]
    assert (y.name, y.points[0].seconds) == ("y", None)
    if separator != " ":
        assert [(p.step, p.values["loss"]) for p in x.validation] == [(0, 4.25)]


def test_rows_of_json_without_events_are_a_history_too(tmp_path):
    log = tmp_path / "other.jsonl"
    log.write_text("\n".join(json.dumps({"step": i, "loss": 5 - i, "seconds": i}) for i in range(3)) + "\nnoise\n[1]")
    (history,) = read_histories(log)
    assert (history.name, len(history.points)) == ("other", 3)


@pytest.mark.parametrize("text", ["", "{}\n", "words of a story\nand more of them\n", "step\tloss\n", '{"step": true}'])
def test_a_file_without_a_step_is_refused(text, tmp_path):
    (tmp_path / "log").write_text(text)
    with pytest.raises(InputRefused, match="no step"):
        read_histories(tmp_path / "log")


def test_numbers_that_are_none_are_passed_over(tmp_path):
    values = {"loss": "NaN", "lr": "1e999", "norm": "9" * 5000, "deep": [1], "fine": 2}
    (tmp_path / "log").write_text(json.dumps({"step": 1, **values}))
    (history,) = read_histories(tmp_path / "log")
    assert history.points[0].values == {"fine": 2.0}


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match="metrics"):
        read_histories(tmp_path)
