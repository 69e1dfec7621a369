"""Hashed attention against transformers, with no allowance for what another rotation would change.

The usual tolerance compares the oracle in float32 and in float64, and the same seed draws other rotations there.
"""

import pytest
import torch


@pytest.mark.parametrize("side", [None, "right", "left"])
def test_the_same_seed_sorts_the_text_as_the_oracle_does(side, oracle):
    for case in oracle.cases["reformer"]:
        pair = oracle.make_pair("reformer", case)
        batch = pair.batch(side)
        with torch.no_grad():
            theirs, ours = pair.scores(pair.theirs(**batch)), pair.ours(**batch).logits
        assert oracle.compare(pair, batch, theirs, ours) <= 1e-5 * max(1.0, theirs.abs().median().item()), case
