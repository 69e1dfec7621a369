import json

import pytest
import torch

from llmkit.training import limit
from llmkit.training.limit import cache_file, matrix_limit, raise_limit

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(limit._SIDE, "cpu", 64)


def measuring(monkeypatch, *results):
    left = list(results)
    monkeypatch.setattr(limit, "_measure", lambda device, dtype: left.pop(0))
    return left


def test_a_machine_multiplies_at_some_rate():
    assert 1e7 < matrix_limit(CPU, torch.float32) < 1e15


def test_the_best_of_the_first_runs_is_remembered(monkeypatch):
    left = measuring(monkeypatch, 5.0, 9.0, 7.0, 100.0)
    assert [matrix_limit(CPU, torch.float32) for _ in range(5)] == [5.0, 9.0, 9.0, 9.0, 9.0]
    assert left == [100.0]


def test_what_was_reached_raises_the_limit(monkeypatch):
    measuring(monkeypatch, 5.0, 5.0, 5.0)
    for _ in range(3):
        matrix_limit(CPU, torch.float32)
    raise_limit(CPU, torch.float32, 6.0)
    raise_limit(CPU, torch.float32, 4.0)
    assert matrix_limit(CPU, torch.float32) == 6.0


def test_formats_and_threads_have_limits_of_their_own(monkeypatch):
    measuring(monkeypatch, 5.0, 9.0, 2.0)
    threads = torch.get_num_threads()
    try:
        assert matrix_limit(CPU, torch.float32) == 5.0
        assert matrix_limit(CPU, torch.bfloat16) == 9.0
        torch.set_num_threads(threads + 1)
        assert matrix_limit(CPU, torch.float32) == 2.0
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": 1}', "[" * 50_000, '{"K": [0, 9]}', '{"K": ["9", 9]}', '{"K": [1e999, 3]}']
)
def test_a_cache_that_is_none_is_written_anew(content, monkeypatch):
    measuring(monkeypatch, 5.0)
    cache_file().parent.mkdir(parents=True)
    cache_file().write_text(content.replace("K", limit._key(CPU, torch.float32)))
    assert matrix_limit(CPU, torch.float32) == 5.0
    assert list(json.loads(cache_file().read_text()).values()) == [[5.0, 1]]


def test_without_a_place_to_remember_every_run_measures(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where a directory should be")
    measuring(monkeypatch, 5.0, 4.0)
    assert [matrix_limit(CPU, torch.float32) for _ in range(2)] == [5.0, 4.0]


def test_measuring_draws_no_random_number():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    matrix_limit(CPU, torch.float32)
    assert torch.rand(1) == expected


def test_what_cannot_be_measured_has_no_limit(monkeypatch):
    def refuse(device, dtype):
        raise RuntimeError("no kernel")

    monkeypatch.setattr(limit, "_measure", refuse)
    assert matrix_limit(CPU, torch.float32) is None


def test_a_format_that_the_machine_is_slow_in_is_measured_on_small_products(monkeypatch):
    monkeypatch.setitem(limit._SIDE, "cpu", 1024)
    sides = []

    def best(device, dtype, side, *, rounds):
        sides.append(side)
        return 2.0 * side**3 / 1e9

    monkeypatch.setattr(limit, "_best", best)
    assert matrix_limit(CPU, torch.bfloat16) == pytest.approx(1e9)
    assert sides == [256, 256]
