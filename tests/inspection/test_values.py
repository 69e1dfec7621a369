import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llmkit.checkpoint.shards import list_tensors
from llmkit.inspection import values
from llmkit.inspection.values import chunks, differences, neighbours, stats


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(values, "_CHUNK_BYTES", 1000)


def stored(path, **tensors):
    path.mkdir(exist_ok=True)
    save_file({n: t.clone() for n, t in tensors.items()}, path / "model.safetensors")
    return list_tensors(path)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64", "int8", "bool"])
def test_values_read_as_torch_reads_them(tmp_path, dtype):
    tensor = (torch.randn(37, 29, generator=torch.Generator().manual_seed(0)) * 3).to(getattr(torch, dtype))
    read = np.concatenate(list(chunks(stored(tmp_path, w=tensor)["w"], "w")))
    np.testing.assert_array_equal(read, tensor.to(torch.float64).flatten().numpy().astype(read.dtype))


def test_statistics_join_across_chunks(tmp_path):
    tensor = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 2 + 100
    found = stats(stored(tmp_path, w=tensor)["w"], "w")
    exact = tensor.double()
    assert found.mean == pytest.approx(float(exact.mean()), rel=1e-9)
    assert found.std == pytest.approx(float(exact.std(correction=0)), rel=1e-6)
    assert (found.min, found.max) == (float(tensor.min()), float(tensor.max()))
    assert found.is_finite


def test_nan_and_infinity_are_counted_and_left_out(tmp_path):
    tensor = torch.tensor([1.0, math.nan, 3.0, math.inf, -math.inf, math.nan, math.nan])
    found = stats(stored(tmp_path, w=tensor, none=torch.full((3,), math.nan))["w"], "w")
    assert (found.nan, found.infinite, found.mean, found.min, found.max) == (3, 2, 2.0, 1.0, 3.0)
    assert math.isnan(stats(list_tensors(tmp_path)["none"], "none").mean)


def test_differences_name_everything_that_differs(tmp_path):
    a, b = torch.randn(400), torch.randn(3, 3)
    changed = a.clone()
    changed[399] += 0.5
    old = stored(tmp_path / "a", same=b, w=a, gone=b, cut=b, kind=b)
    new = stored(tmp_path / "b", same=b, w=changed, fresh=b, cut=b[:2].contiguous(), kind=b.double())
    found = differences(old, new)
    assert (found.added, found.removed, found.reshaped) == (("fresh",), ("gone",), {"cut": ((3, 3), (2, 3))})
    assert found.changed == {"w": pytest.approx(0.5, abs=1e-6)}
    assert found.retyped == {"kind": ("F32", "F64")}
    assert found.equal == 1
    assert not found.is_empty
    assert differences(old, old).is_empty


def test_differences_meet_nan_and_infinity(tmp_path):
    old = stored(tmp_path / "a", w=torch.tensor([math.nan, math.inf, 1.0]), v=torch.tensor([1.0]))
    new = stored(tmp_path / "b", w=torch.tensor([math.nan, math.inf, 1.0]), v=torch.tensor([math.nan]))
    assert differences(old, new).changed == {"v": math.inf}


def test_neighbours_are_the_nearest_by_cosine(tmp_path):
    table = torch.randn(300, 16, generator=torch.Generator().manual_seed(0))
    table[7] = table[3] * 5
    table[9] = -table[3]
    table[11] = 0
    found = neighbours(stored(tmp_path, w=table)["w"], "w", 3, 299)
    assert found[0] == (7, pytest.approx(1.0))
    assert found[-1] == (9, pytest.approx(-1.0))
    cosine = torch.nn.functional.cosine_similarity(table, table[3:4])
    order = [int(i) for i in cosine.argsort(descending=True) if i != 3]
    assert [i for i, _ in found[:20]] == order[:20]
