import io
import re

import pytest

from llmkit.render.training_panel import TrainingPanel, clock, sparkline

RECORDS = [
    {"event": "start", "step": 0, "run": "bert-mini", "steps": 100, "parameters": 4_378_114, "examples": 20_000,
     "tokens_per_step": 2048, "device": "cpu", "threads": 2},
    {"event": "step", "step": 10, "loss": 3.5, "masked": 3.0, "lr": 1e-3, "grad_norm": 0.5, "tokens": 20480,
     "tokens_per_second": 18234.0, "examples_per_second": 142.0, "seconds": 1.0},
    {"event": "step", "step": 20, "loss": None, "lr": 1e-3, "grad_norm": 0.5, "tokens": 20480, "nonfinite": True,
     "tokens_per_second": 18234.0, "examples_per_second": 142.0, "seconds": 1.0},
    {"event": "eval", "step": 20, "loss": 3.1, "perplexity": 812.7, "masked_accuracy": 0.42, "seconds": 1.0,
     "better": True},
    {"event": "sample", "step": 20, "prompt": "a [MASK] \x1b[2J", "text": "cat\n\x1b]0;title\x07"},
    {"event": "warning", "step": 20, "message": "a \x1b[31m spike"},
    {"event": "checkpoint", "step": 20, "path": "runs/bert-mini/step-000020", "size": 43_000_000, "seconds": 0.2},
    {"event": "end", "step": 100, "reason": "finished", "seconds": 9.0},
]  # fmt: skip


def drawn(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    panel = TrainingPanel(out)
    for record in RECORDS:
        panel.show(record)
    panel.close()
    return out.getvalue()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_panel_fits_the_terminal_and_shows_what_matters(columns, monkeypatch):
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn(columns, monkeypatch))
    assert all(len(line) <= columns for line in re.split(r"[\r\n]", shown))
    last = shown[shown.rindex("run ") :]
    for fact in (
        "bert-mini",
        "4.38 M parameters",
        "held out",
        "step 20, best so far",
        "it says",
        "runs/bert-mini/step",
    ):
        assert fact in last


def test_text_of_a_model_cannot_drive_the_terminal(monkeypatch):
    shown = drawn(120, monkeypatch)
    for bad in ("\x1b[2J", "\x1b]0", "\x07", "\x1b[31m spike"):
        assert bad not in shown


def test_a_sparkline_goes_from_lowest_to_highest_and_averages_what_does_not_fit():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([float("nan"), 1.0, float("inf")]) == "▁"
    assert sparkline([]) == ""
    assert len(sparkline(list(range(1000)), 40)) == 40


def test_clocks_read_as_minutes_and_hours():
    assert [clock(7), clock(750), clock(11100)] == ["0:07", "12:30", "3:05:00"]


def test_a_terminal_that_goes_away_is_no_error(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    panel = TrainingPanel(Gone())
    for record in RECORDS:
        panel.show(record)
    panel.close()
