"""Training state in parts, and who writes what."""

import pytest
import torch

from llmkit.checkpoint.state import StateFiles, has_state, load_state, part_name, save_state, save_values
from llmkit.checkpoint.tensors import write_tensors
from llmkit.errors import InputRefused


def write_parts(directory, *parts, count=None):
    directory.mkdir()
    for number, tensors in enumerate(parts, 1):
        write_tensors(directory / part_name(number, count or len(parts)), tensors, {"format": "pt"})
    save_values(directory, {"step": 3})
    return directory


def test_state_in_parts_reads_as_state_in_one_file(tmp_path):
    tensors = {name: torch.randn(3) for name in "abcd"}
    (tmp_path / "whole").mkdir()
    save_state(tmp_path / "whole", tensors, {"step": 3})
    parts = write_parts(tmp_path / "parts", {n: tensors[n] for n in "ab"}, {n: tensors[n] for n in "cd"})
    for directory in (tmp_path / "whole", parts):
        assert has_state(directory)
        found, values = load_state(directory)
        assert values == {"step": 3}
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[n], tensors[n]) for n in tensors)
        assert {p.name for p in directory.iterdir() if p.name not in StateFiles()} == set()


def test_state_of_which_a_part_is_missing_is_refused(tmp_path):
    parts = write_parts(tmp_path / "parts", {"a": torch.ones(1)}, {"b": torch.ones(1)})
    (parts / part_name(1, 2)).unlink()
    assert not has_state(parts)
    with pytest.raises(InputRefused, match="not all of it"):
        load_state(parts)


def test_a_tensor_in_two_parts_is_refused(tmp_path):
    parts = write_parts(tmp_path / "parts", {"a": torch.ones(1)}, {"a": torch.ones(1)})
    with pytest.raises(InputRefused, match="twice"):
        load_state(parts)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_tensors_are_dealt_out_in_order_and_about_evenly(count):
    from llmkit.training.parallel.saving import _number, _owners

    sizes = [5, 1, 1, 9, 2, 2, 7, 3, 3, 1, 6]
    owners = _owners(sizes, count)
    assert owners == sorted(owners)
    assert owners[0] == 0
    assert max(owners) < count
    loads = [sum(s for s, o in zip(sizes, owners, strict=True) if o == rank) for rank in range(count)]
    assert max(loads) <= sum(sizes) / count + 2 * max(sizes)
    writers = [number for rank in range(count) if (number := _number(owners, rank))]
    assert writers == [(i + 1, len(writers)) for i in range(len(writers))]
