import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.data.order import mixed, permuted, permuted_many


@pytest.mark.parametrize("n", [*range(1, 130), 1000, 1024, 4097, 65_537])
def test_every_epoch_visits_each_index_once(n):
    for seed, epoch in ((0, 0), (1, 0), (0, 1)):
        assert np.array_equal(np.sort(permuted_many(seed, epoch, np.arange(n), n)), np.arange(n))


@settings(deadline=None)
@given(st.integers(-(2**70), 2**70), st.integers(0, 2**40), st.integers(1, 2**62), st.data())
def test_the_array_form_gives_the_same_numbers(seed, epoch, n, data):
    indices = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=8))
    expected = [permuted(seed, epoch, i, n) for i in indices]
    assert permuted_many(seed, epoch, np.array(indices), n).tolist() == expected
    assert all(0 <= i < n for i in expected)


def test_epochs_and_seeds_have_their_own_orders():
    n = 10_000
    base = permuted_many(3, 0, np.arange(n), n)
    for seed, epoch in ((3, 1), (4, 0), (0, 3)):
        same = np.mean(base == permuted_many(seed, epoch, np.arange(n), n))
        assert same < 0.005  # chance: 1 / n


def test_neighbours_are_thrown_far_apart_and_no_place_is_favoured():
    n = 5000
    order = permuted_many(7, 2, np.arange(n), n)
    assert abs(np.corrcoef(np.arange(n), order)[0, 1]) < 0.05
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.05
    where = np.array([permuted(seed, 0, 0, 10) for seed in range(4000)])
    counts = np.bincount(where, minlength=10)
    assert np.sum((counts - 400) ** 2 / 400) < 33.7  # chi-squared, 9 degrees of freedom, p = 1e-4


def test_the_order_never_changes_between_versions():
    assert [permuted(0, 0, i, 10) for i in range(10)] == [0, 2, 3, 6, 4, 7, 5, 8, 9, 1]
    assert mixed(1, 2, 3) == 0xD0734750FDE362B3


def test_an_index_outside_is_a_programming_error():
    with pytest.raises(ValueError, match="not in range"):
        permuted(0, 0, 5, 5)
    with pytest.raises(ValueError, match="not in range"):
        permuted_many(0, 0, np.array([-1]), 5)
