"""Which examples each step sees: pure functions of the seed, so that the position in the data is one integer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmkit.data.order import mixed, permuted_many
from llmkit.training.objectives.objective import Picks, joined
from llmkit.training.seeds import Purpose

# Examples of similar length are sought among this many batches at once.
POOL = 16


class ShuffledOrder:
    """Every example once an epoch, in an order drawn from (seed, epoch)."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.seed = n, mixed(seed, Purpose.ORDER)

    def picks(self, first: int, count: int) -> Picks:
        """The examples at global positions first .. first + count."""
        position = np.arange(first, first + count, dtype=np.int64)
        epoch, within = position // self.n, position % self.n
        index = np.empty(count, dtype=np.int64)
        for e in np.unique(epoch):
            here = epoch == e
            index[here] = permuted_many(self.seed, int(e), within[here], self.n)
        return Picks(epoch, index, position)


class BucketedOrder:
    """Like ShuffledOrder, but each batch holds examples of similar length, so that little of it is padding.

    A pool of batches is taken in shuffled order, sorted by length, and cut into batches that come in random order.
    lengths: tokens of each example, shape (n,).
    """

    def __init__(self, lengths: NDArray[np.integer], seed: int, batch_size: int) -> None:
        self.lengths, self.seed, self.batch_size = lengths, seed, batch_size
        self.plain = ShuffledOrder(len(lengths), seed)
        self._pool: tuple[int, Picks] | None = None

    def picks(self, first: int, count: int) -> Picks:
        """The examples at global positions first .. first + count."""
        size = self.batch_size * POOL
        parts = []
        while count:
            pool, start = divmod(first, size)
            taken = min(count, size - start)
            picks = self._sorted_pool(pool, size)
            parts.append(picks.part(start, start + taken))
            first, count = first + taken, count - taken
        return joined(parts)

    def _sorted_pool(self, pool: int, size: int) -> Picks:
        # Two threads may ask for batches: each must get what it asked for, whichever pool is kept.
        kept = self._pool
        if kept is None or kept[0] != pool:
            plain = self.plain.picks(pool * size, size)
            by_length = np.argsort(self.lengths[plain.index], kind="stable").reshape(POOL, self.batch_size)
            batches = permuted_many(self.plain.seed, -1 - pool, np.arange(POOL), POOL)
            order = by_length[batches].ravel()
            self._pool = kept = pool, Picks(plain.epoch[order], plain.index[order], plain.draw[order])
        return kept[1]
