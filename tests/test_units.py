"""Numbers in words."""

import pytest

from llmkit.units import clock, count, percent, size


@pytest.mark.parametrize(
    ("n", "shown"),
    [(0, "0"), (999, "999"), (999.6, "1 k"), (42_100_000, "42.1 M"), (999_600, "1 M"), (10**18 * 5, "5000 P")],
)
def test_counts_have_three_digits_and_a_unit(n, shown):
    assert count(n) == shown


def test_sizes_are_decimal():
    assert [size(n) for n in (1, 84_213_760, 1024)] == ["1 B", "84.2 MB", "1.02 kB"]


def test_a_share_that_is_not_zero_never_reads_zero():
    assert [percent(share) for share in (0.0, 1e-9, 0.034, 0.394, 1.0)] == ["0%", "<0.1%", "3.4%", "39%", "100%"]


def test_clocks_read_as_minutes_and_hours():
    assert [clock(7), clock(750), clock(11100)] == ["0:07", "12:30", "3:05:00"]
