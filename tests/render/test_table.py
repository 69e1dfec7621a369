from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from llmkit.render.table import fact_lines

words = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@given(values=st.dictionaries(words, words, max_size=4), width=st.integers(20, 90))
def test_facts_fit_any_width(values, width):
    lines = fact_lines(values, width)
    assert all(cell_len(line.plain) <= width for line in lines)
    assert len(lines) >= len(values)


def test_a_long_fact_goes_on_below_itself_and_a_digest_is_cut():
    path, digest = "/models/" + "x" * 50, "0123456789abcdef" * 4
    lines = [line.plain for line in fact_lines({"path": path, "sha256": digest}, 40)]
    assert "".join(line[8:] for line in lines[:-1]) == path
    assert lines[-1] == "sha256  " + digest[:31] + "…"
