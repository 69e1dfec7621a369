from collections import Counter

import pytest
import torch
from torch import nn

from llmkit.measurement import limits
from llmkit.measurement.limits import flops, gemm_case, recorded_products


def test_products_are_those_that_were_done_with_the_rows_they_had():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 100)

        def forward(self, x):
            hidden = self.body(self.body(x)[..., :4])
            return self.head(hidden[:, -1])

    model = Two()
    with recorded_products(model) as found:
        model(torch.zeros(3, 5, 4))
    assert found == Counter({(15, 8, 4): 2, (3, 100, 8): 1})
    assert flops(found) == 2 * 15 * 8 * 4 * 2 + 2 * 3 * 100 * 8
    model(torch.zeros(3, 5, 4))
    assert sum(found.values()) == 3  # no longer listening


def test_the_limit_of_a_product_is_that_of_the_fastest_way(monkeypatch):
    seconds = {"slow": 3.0, "fast": 1.0}
    monkeypatch.setattr(limits, "ways_to_multiply", lambda a, b, result: ["slow", "fast"])
    monkeypatch.setattr(limits, "best_of", lambda call, device: seconds[call])
    run = gemm_case({(8, 4, 4): 5}, torch.float32, "cpu", backward=True)
    assert run() == 5 * 3 * 1.0  # forward and both ones backward
    seconds["fast"] = 2.0
    assert run() == 15.0, "a slow moment later on does not lower the limit"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_way_gives_the_same_product(dtype):
    a, b = torch.randn(64, 32, dtype=dtype), torch.randn(32, 48, dtype=dtype)
    result = torch.zeros(64, 48, dtype=dtype)
    for way in limits.ways_to_multiply(a, b, result):
        torch.testing.assert_close(way().float(), (a.float() @ b.float()), atol=0.1, rtol=0.1)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN in this torch")
def test_what_our_linear_layer_uses_is_among_the_ways():
    from llmkit.nn import linear

    a, b, y = torch.randn(64, 32), torch.randn(32, 48), torch.zeros(64, 48)
    assert len(limits.ways_to_multiply(a, b, y)) == (2 if hasattr(torch.ops.mkldnn, "_linear_pointwise") else 1)
    assert not linear.onednn_pays() or len(limits.ways_to_multiply(a, b, y)) == 2
