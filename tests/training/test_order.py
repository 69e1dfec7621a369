import numpy as np
import pytest

from llmkit.training.order import BucketedOrder, ShuffledOrder


def orders(n=37, batch=4):
    lengths = np.random.default_rng(0).integers(1, 100, n)
    return {"shuffled": ShuffledOrder(n, 5), "bucketed": BucketedOrder(lengths, 5, batch)}


@pytest.mark.parametrize("kind", ["shuffled", "bucketed"])
def test_every_example_comes_once_an_epoch(kind):
    picks = orders()[kind].picks(0, 37 * 5 + 3 * 64)
    for epoch in range(5):
        assert sorted(picks.index[picks.epoch == epoch]) == list(range(37))


@pytest.mark.parametrize("kind", ["shuffled", "bucketed"])
def test_reading_in_parts_or_from_the_middle_gives_the_same_examples(kind):
    whole = orders()[kind].picks(0, 200).index
    parts = np.concatenate([orders()[kind].picks(at, 8).index for at in range(0, 200, 8)])
    assert (whole == parts).all()


def test_epochs_differ():
    picks = ShuffledOrder(50, 1).picks(0, 100)
    assert (picks.index[:50] != picks.index[50:]).any()


def test_batches_hold_similar_lengths():
    lengths = np.random.default_rng(0).integers(1, 1000, 4000)
    order = BucketedOrder(lengths, 0, 8)
    spreads = [np.ptp(lengths[order.picks(at, 8).index]) for at in range(0, 4000, 8)]
    assert np.mean(spreads) < 0.1 * np.ptp(lengths)
