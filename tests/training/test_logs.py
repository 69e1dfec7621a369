import io
import json

import pytest

from llmkit.training.events import End, Evaluation, Sample, Saved, Start, Step, Warned, to_record
from llmkit.training.logs import METRICS, JsonLines, MetricsFile, PlainLines


def step(n, loss=2.5):
    rates = {"lr": 1e-3, "grad_norm": 0.5, "tokens": 10 * n}
    return Step(n, loss, {}, **rates, tokens_per_second=18234.4, examples_per_second=12.0, seconds=1.0)


EVENTS = [
    Start(0, "a", 10, 100, 4, 64, "cpu", 2, 50),
    step(1),
    Evaluation(1, {"loss": 2.0, "accuracy": 0.5}, 0.1, True),
    Sample(1, "One day", "a \x1b[2J cat\n"),
    Saved(1, "runs/a/step-000001", 1000, 0.1),
    Warned(1, "a spike"),
    End(1, "finished", 1.0, {"loss": 2.0}),
]


def test_plain_lines_are_one_line_an_event():
    out = io.StringIO()
    lines = PlainLines(out)
    for event in EVENTS:
        lines(event)
    assert len(out.getvalue().splitlines()) == len(EVENTS)
    assert "step=1 loss=2.5000 lr=0.001 grad_norm=0.5 tok/s=18234 seq/s=12.0" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_records_are_plain_json_and_say_when_a_number_is_not_one():
    for event in EVENTS:
        assert json.loads(json.dumps(to_record(event), allow_nan=False))["event"] == event.kind
    record = to_record(step(1, float("nan")))
    assert record["loss"] is None
    assert record["nonfinite"] is True


def test_resuming_drops_what_lies_beyond_the_checkpoint_and_a_torn_line(tmp_path):
    metrics = MetricsFile(tmp_path, 0)
    for n in range(1, 8):
        metrics(step(n))
    metrics.close()
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"event": "step", "st')
    again = MetricsFile(tmp_path, 5)
    again(step(6))
    again.close()
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("listener", [PlainLines, JsonLines])
def test_a_reader_that_left_is_no_error(listener):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    heard = listener(Gone())
    heard(EVENTS[0])
    heard(EVENTS[1])
