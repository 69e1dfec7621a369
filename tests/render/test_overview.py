from llmkit.render.overview import KINDS, overview_lines


def test_the_legend_is_whole_at_any_width():
    heads = {(0, i): (letter, 0.5) for i, letter in enumerate(KINDS)}
    for width in (20, 40, 80, 120):
        lines = [line.plain for line in overview_lines(heads, width, "none")]
        assert all(len(line) <= width for line in lines)
        assert all(any(f"{letter} {word}" in line for line in lines) for letter, word in KINDS.items())
