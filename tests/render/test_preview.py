import io

from llmkit.render.preview import lane_text, legend, preview_rows, show_preview

LANES = [
    ("text", [("[CLS]", "special"), (" a", "plain"), (" b", "plain"), ("\n", "plain")]),
    ("input", [("[CLS]", "special"), (" [MASK]", "hidden"), (" x", "replaced"), ("\n", "plain")]),
]


def test_without_colour_what_happened_is_told_by_signs():
    assert lane_text(LANES[1][1], color=False).plain == "[CLS] [MASK] ⟨x⟩↵"
    assert lane_text(LANES[1][1], color=True).plain == "[CLS] [MASK] x↵"


def test_a_lane_of_targets_alone_needs_no_signs():
    assert lane_text([(" a", "kept"), (" b", "kept")], color=False).plain == " a b"


def test_the_legend_names_the_marks_that_occur_and_no_others():
    said = legend({"hidden", "kept", "plain"}, color=False).plain
    assert "hidden" in said
    assert "=kept=" in said
    assert "moved" not in said


def test_control_characters_of_a_text_do_not_reach_the_terminal():
    stream = io.StringIO()
    show_preview([([("text", [("\x1b[2Jhi", "plain")])], {"label": "\x1b]0;x\x07"})], "t\x1b[1m", stream)
    assert "\x1b[2J" not in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()
    assert "hi" in stream.getvalue()


def test_rows_for_a_pipe_stay_rows_whatever_is_in_the_text():
    rows = list(preview_rows([(LANES, {})]))
    assert rows[3] == "1\ttext\t3\t\\n\tplain"
    assert rows[6] == "1\tinput\t2\t x\treplaced"
    assert all(row.count("\t") == 4 and "\n" not in row for row in rows)
