import io
import re

import pytest

from llmkit.render.training_panel import TrainingPanel, sparkline

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


def drawn(columns, monkeypatch, records=RECORDS):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    panel = TrainingPanel(out)
    for record in records:
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


@pytest.mark.parametrize("columns", [40, 50, 60, 80, 100])
def test_a_field_is_shown_whole_or_not_at_all(columns, monkeypatch):
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn(columns, monkeypatch, RECORDS[:2] + RECORDS[3:]))
    wide = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn(200, monkeypatch, RECORDS[:2] + RECORDS[3:]))

    def facts(text, name):
        return re.split(r"  +", text[text.rindex(name) :].splitlines()[0].strip())

    for name in ("run ", "loss ", "rate ", "held out ", "saved "):
        missing = [fact for fact in facts(shown, name) if fact not in facts(wide, name) and "▁" not in fact]
        assert not missing


def test_a_name_too_long_for_the_line_ends_in_dots(monkeypatch):
    shown = drawn(40, monkeypatch, [RECORDS[0], {**RECORDS[6], "path": "runs/" + "long" * 10 + "/step-000020"}])
    assert "runs/longlong" in shown
    assert "…" in shown


def test_what_is_said_while_the_picture_stands_comes_before_it_and_once_it_is_done_after_it(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)  # beside FORCE_COLOR it would make this no terminal
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    panel = TrainingPanel(out)
    panel.say("first")
    panel.show(RECORDS[0])
    panel.say("between")
    panel.show(RECORDS[-1])
    panel.say("last")
    panel.close()
    screen = replayed(out.getvalue())
    names = [line.split()[0] for line in screen if line.strip()]
    assert names == ["first", "between", "run", "step", "last"]


def replayed(data):
    """The lines a terminal shows after `data`: text, line ends, and what Rich uses of cursor movement."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", data):
        if part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif part == "\r":
            column = 0
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part.startswith("\x1b[") and part.endswith("A"):
            row -= int(part[2:-1])
        elif not part.startswith("\x1b"):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
    return lines


def test_text_of_a_model_cannot_drive_the_terminal(monkeypatch):
    shown = drawn(120, monkeypatch)
    for bad in ("\x1b[2J", "\x1b]0", "\x07", "\x1b[31m spike"):
        assert bad not in shown


def test_a_sparkline_goes_from_lowest_to_highest_and_averages_what_does_not_fit():
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert sparkline([float("nan"), 1.0, float("inf")]) == "▁"
    assert sparkline([]) == ""
    assert len(sparkline(list(range(1000)), 40)) == 40


def test_a_terminal_that_goes_away_is_no_error(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    panel = TrainingPanel(Gone())
    for record in RECORDS:
        panel.show(record)
    panel.close()


def test_the_curve_of_the_run_is_drawn_where_the_window_has_room(monkeypatch):
    steps = [{**RECORDS[1], "step": 10 * i, "loss": 5 - i / 10} for i in range(1, 30)]
    evaluation = {**RECORDS[3], "step": 200}

    def last(lines):
        monkeypatch.setenv("LINES", str(lines))
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn(80, monkeypatch, [RECORDS[0], *steps, evaluation]))
        return shown[shown.rindex("run ") :]

    tall, short = last(40), last(14)
    assert "└┬" in tall
    assert "●" in tall
    assert "▁" not in tall
    assert "▁" in short
    assert "└" not in short


def test_a_resumed_run_shows_what_it_learned_before(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    panel = TrainingPanel(io.StringIO())
    panel.recall([(10.0 * i, 5 - i / 10) for i in range(1, 30)], [(200.0, 3.2)], [100.0])
    panel.show({**RECORDS[0], "step": 290})
    picture = "\n".join(line.plain for line in panel.curve.lines(60, 8, colored=False))
    panel.close()
    assert "●" in picture
    assert len(panel.curve.train) == 29
    assert panel.curve.stages == [100.0]


def test_steps_left_out_are_counted(monkeypatch):
    skip = {"event": "skip", "step": 19, "reason": "loss became nan", "where": "x", "skipped": 2}
    shown = drawn(100, monkeypatch, [RECORDS[0], RECORDS[1], skip, RECORDS[-1]])
    assert "warning: step 20 left out: loss became nan" in shown
    assert "2 steps left out, the last at 20" in shown


@pytest.mark.parametrize(("columns", "words"), [(60, "43% of the machine"), (100, "43% of the 190 GFLOP/s")])
def test_utilisation_is_told_with_its_limit_where_there_is_room(columns, words, monkeypatch):
    records = [{**RECORDS[0], "limit_flops": 1.9e11}, {**RECORDS[1], "utilisation": 0.43}, RECORDS[-1]]
    assert words in drawn(columns, monkeypatch, records)


def test_drawing_takes_a_small_share_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("llmkit.render.training_panel.time.monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "80")
    panel = TrainingPanel(io.StringIO())
    panel.show(RECORDS[0])
    draws = []

    def slow():
        draws.append(now[0])
        now[0] += 0.05
        return ""

    monkeypatch.setattr(panel, "picture", slow)
    for i in range(1, 1000):
        now[0] += 0.1
        panel.show({**RECORDS[1], "step": 10 * i})
    assert 0.05 * len(draws) / now[0] < 0.0055
    panel.live.stop()


def test_a_resized_terminal_is_followed_and_the_wrapped_picture_taken_back(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    panel = TrainingPanel(out)
    panel.show(RECORDS[0])
    panel.show(RECORDS[3])
    widths = list(panel.widths)
    before = len(out.getvalue())
    monkeypatch.setenv("COLUMNS", "40")
    panel.show(RECORDS[3])
    said = out.getvalue()[before:]
    rows = sum(-(-n // 40) or 1 for n in widths)
    assert rows > len(widths)
    assert said.startswith(f"\r\x1b[{rows - 1}A\x1b[J")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)
    assert all(len(line) <= 40 for line in re.split(r"[\r\n]", shown))


def test_a_run_that_goes_on_says_from_where(monkeypatch):
    assert "goes on" not in drawn(100, monkeypatch)
    assert "goes on from step 1,200" in drawn(100, monkeypatch, [{**RECORDS[0], "step": 1200}])
