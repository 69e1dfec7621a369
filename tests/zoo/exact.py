"""How far from the oracle each family is at most, over all its awkward cases and paddings."""

from __future__ import annotations

from collections.abc import Sequence

from llmkit.models.registry import family_names
from tests.zoo.hunt import load_tests


def report(names: Sequence[str]) -> None:
    """Per family: passes compared, largest difference of logits, the same as a share of what is allowed (1e-5, relative
    to the median score where that is above one; three times the oracle's own error where that is more), and in how many
    passes the oracle's own error set the limit."""
    import torch

    tests = load_tests("conftest")
    print("family\tpasses\tlargest difference\tshare of the limit\tlimits by the oracle's own error")
    for name in names or family_names():
        largest = share = 0.0
        passes = loose = 0
        for case in tests.awkward.CASES[name]:
            pair = tests.make_pair(name, case)
            for side in (None, *pair.options["paddings"]):
                batch = pair.batch(side)
                with torch.no_grad():
                    theirs = pair.scores(pair.theirs(**batch))
                    gap = float(tests.compare(pair, batch, theirs, pair.ours(**batch).logits))
                limit = tests.tolerance(pair, batch)
                plain = 1e-5 * max(1.0, float(theirs.abs().median()))
                largest, share, passes = max(largest, gap), max(share, gap / limit), passes + 1
                loose += limit > plain * 1.01
        tests.make_pair.cache_clear()
        print(f"{name}\t{passes}\t{largest:.1e}\t{share:.2f}\t{loose}", flush=True)
