import pytest

from llmkit.measurement.result import rated
from llmkit.measurement.timing import Timing, interleaved, percentile


def test_percentiles_lie_between_neighbours():
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert percentile([0.0, 10.0], 10) == 1.0
    assert percentile([5.0], 90) == 5.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_cases_take_turns_and_warm_ups_do_not_count():
    calls = []
    times = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, trials=4, warmup=1)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab" + "ba"
    assert {name: len(t.seconds) for name, t in times.items()} == {"a": 4, "b": 4}


def test_a_case_may_count_only_part_of_its_time():
    assert interleaved({"a": lambda: 0.25}, trials=3)["a"].seconds == (0.25, 0.25, 0.25)


def test_the_budget_ends_the_rounds_but_not_before_three():
    now = iter(range(1000))
    assert len(interleaved({"a": lambda: None}, trials=50, budget=0, clock=lambda: float(next(now)))["a"].seconds) == 3


def test_rates_turn_the_slowest_trials_into_the_low_end():
    result = rated("x", "y", "MB", 10.0, Timing((1.0, 2.0, 4.0)), limit=10.0)
    assert result.median == 5.0
    assert result.low < result.median < result.high
    assert result.share == 0.5
    assert result.as_json()["unit"] == "MB/s"
