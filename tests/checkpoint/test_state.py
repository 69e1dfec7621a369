import json
import math
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmkit.checkpoint.state import VALUES, has_state, load_state, load_values, save_state
from llmkit.errors import InputRefused

TENSORS = {
    "m.0": torch.randn(3, 5),
    "m.1": torch.randn(4, 4).t(),
    "half": torch.randn(7).bfloat16(),
    "step": torch.tensor(12.5),
    "none": torch.empty(0, 3),
    "rng": torch.get_rng_state(),
    "mask": torch.tensor([True, False]),
    "odd": torch.tensor([math.nan, math.inf, -0.0]),
}
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**128), 2**128) | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text().filter(lambda k: not k.startswith("$")), inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a, b):
    """Equal in type and value, NaN and the sign of zero included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b


def test_tensors_come_back_bit_for_bit(tmp_path):
    save_state(tmp_path, TENSORS, {})
    found, _ = load_state(tmp_path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].contiguous().view(-1).view(torch.uint8).equal(tensor.contiguous().view(-1).view(torch.uint8))


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text().filter(lambda k: not k.startswith("$")), values, max_size=4))
def test_values_come_back_in_type_and_value(tmp_path_factory, stored):
    directory = tmp_path_factory.mktemp("state")
    save_state(directory, {}, stored)
    assert same(load_values(directory), stored)
    assert same(load_state(directory)[1], stored)


def test_state_of_pythons_generator_survives(tmp_path):
    generator = random.Random(3)
    save_state(tmp_path, {}, {"python": generator.getstate()})
    ahead = [generator.random() for _ in range(5)]
    generator.setstate(load_state(tmp_path)[1]["python"])
    assert [generator.random() for _ in range(5)] == ahead


def test_memory_of_the_loaded_tensors_is_their_own_and_aligned(tmp_path):
    save_state(tmp_path, {"a": torch.randn(1000), "b": torch.randn(3)}, {})
    found, _ = load_state(tmp_path)
    found["a"].zero_()  # must not touch the file
    assert load_state(tmp_path)[0]["a"].abs().sum() > 0
    # Some kernels round differently on unaligned memory, which would break exact resume.
    assert all(tensor.data_ptr() % 64 == 0 for tensor in found.values())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "llmkit/state/1"}',
        '{"schema": "llmkit/state/9", "values": {}}',
        '{"schema": "llmkit/state/1", "values": []}',
        '{"schema": "llmkit/state/1", "values": {"a": {"$float": "x"}}}',
        '{"schema": "llmkit/state/1", "values": {"a": {"$float": []}}}',
        '{"schema": "llmkit/state/1", "values": {"a": {"$bytes": "zz"}}}',
        '{"schema": "llmkit/state/1", "values": {"a": {"$tuple": 5}}}',
        '{"schema": "llmkit/state/1", "values": {"a": NaN}}',
    ],
)
def test_damaged_values_are_refused(text, tmp_path):
    save_state(tmp_path, {}, {})
    (tmp_path / VALUES).write_text(text)
    with pytest.raises(InputRefused, match=r"state\.json"):
        load_values(tmp_path)


def test_a_directory_without_state_says_so(tmp_path):
    assert not has_state(tmp_path)
    with pytest.raises(InputRefused, match="no training state"):
        load_state(tmp_path)


def test_what_json_cannot_hold_is_refused_when_saved(tmp_path):
    with pytest.raises(TypeError, match="set"):
        save_state(tmp_path, {}, {"a": {1, 2}})


def test_the_file_is_plain_json_that_any_program_reads(tmp_path):
    save_state(tmp_path, {}, {"step": 5, "best": math.inf})
    assert json.loads((tmp_path / VALUES).read_text())["values"] == {"step": 5, "best": {"$float": "inf"}}
