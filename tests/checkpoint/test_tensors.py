"""Our reader and writer of tensor data against the library that defines the format."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from llmkit.checkpoint.tensors import TensorFile, torch_dtype, write_tensors
from llmkit.errors import InputRefused

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int32, torch.uint8]
DTYPES += [torch.bool, torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.uint16]
tensors = st.dictionaries(
    st.text(st.characters(categories=["L", "N"], include_characters="._"), min_size=1, max_size=9),
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3), st.integers(0, 2**31)),
    max_size=5,
)


def make(dtype, shape, seed):
    generator = torch.Generator().manual_seed(seed)
    size = torch.empty(shape, dtype=dtype).numel() * torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (size,), generator=generator, dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


def read(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return dict(TensorFile(fd, str(path)))
    finally:
        os.close(fd)


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).tolist()


@settings(max_examples=60, deadline=None)
@given(tensors)
def test_both_sides_read_what_the_other_wrote(tmp_path_factory, spec):
    directory = tmp_path_factory.mktemp("t")
    stored = {name: make(*args) for name, args in spec.items()}
    write_tensors(directory / "ours", stored, {"format": "pt"})
    save_file(stored, directory / "theirs", {"format": "pt"})
    wanted = {name: bits(tensor) for name, tensor in stored.items()}
    assert {n: bits(t) for n, t in load_file(directory / "ours").items()} == wanted
    assert {n: bits(t) for n, t in read(directory / "theirs").items()} == wanted
    assert {n: bits(t) for n, t in read(directory / "ours").items()} == wanted


def test_views_slices_and_transposes_are_written_as_they_read(tmp_path):
    base = torch.randn(6, 8)
    stored = {"t": base.t(), "slice": base[::2, 1:5], "row": base[3], "expanded": base[0, :1].expand(5)}
    write_tensors(tmp_path / "m", stored)
    for name, tensor in read(tmp_path / "m").items():
        assert torch.equal(tensor, stored[name])


def test_a_file_cut_while_it_is_open_is_refused_not_half_read(tmp_path):
    write_tensors(tmp_path / "m", {"a": torch.randn(1000)})
    fd = os.open(tmp_path / "m", os.O_RDONLY)
    file = TensorFile(fd, "m")
    os.truncate(tmp_path / "m", 2000)
    with pytest.raises(InputRefused, match="cut short while"):
        file["a"]
    os.close(fd)


def test_a_dtype_torch_cannot_hold_is_refused():
    with pytest.raises(InputRefused, match="F6_E2M3"):
        torch_dtype("F6_E2M3")
