"""Event files against TensorBoard's own reader."""

import math

import pytest

from llmkit.errors import StorageError
from llmkit.training.events import Evaluation, Start, Step
from llmkit.training.tensorboard import Board


def step(n, loss=2.5):
    return Step(n, loss, {"masked": 2.0, "pair": 0.5}, 1e-3, 0.5, 64 * n, 18234.4, 12.0, 0.1 * n, 0.43)


def write(directory, first, last, resumed=0):
    board = Board(directory, resumed)
    board(Start(resumed, "a", 10, 100, 4, 64, "cpu", 2, 50))
    for n in range(first, last + 1):
        board(step(n, 10.0 / n))
        if n % 5 == 0:
            board(Evaluation(n, {"loss": 3.0, "masked_accuracy": 0.25}, 0.1, True))
    board.close()


def read(directory):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = event_accumulator.EventAccumulator(str(directory))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def steps(directory, tag="loss/train"):
    return [n for n, _ in read(directory)[tag]]


def test_tensorboard_reads_what_was_written(tmp_path):
    write(tmp_path, 1, 10)
    found = read(tmp_path)
    assert found["loss/train"] == [(n, pytest.approx(10.0 / n)) for n in range(1, 11)]
    assert found["loss/validation"] == [(5, 3.0), (10, 3.0)]
    assert found["validation/masked_accuracy"] == [(5, 0.25), (10, 0.25)]
    assert set(found) >= {"loss/masked", "loss/pair", "lr", "grad_norm", "speed/tokens_per_second", "speed/utilisation"}


@pytest.mark.parametrize("resumed", [10, 7, 1])
def test_a_resumed_run_has_every_step_once(resumed, tmp_path):
    write(tmp_path, 1, 10)
    write(tmp_path, resumed + 1, 12, resumed)
    assert steps(tmp_path) == list(range(1, 13))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_run_that_stopped_where_it_saved_goes_on_in_the_same_file(tmp_path):
    write(tmp_path, 1, 10)
    (before,) = tmp_path.iterdir()
    write(tmp_path, 11, 12, 10)
    assert list(tmp_path.iterdir()) == [before]


def test_a_run_begun_anew_begins_its_curves_anew(tmp_path):
    write(tmp_path, 1, 10)
    write(tmp_path, 1, 3)
    assert steps(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 4, 20, 150])
def test_a_torn_end_is_dropped(cut, tmp_path):
    write(tmp_path, 1, 10)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-cut])
    write(tmp_path, 9, 12, 8)
    assert steps(tmp_path) == list(range(1, 13))


def test_damage_in_the_middle_ends_what_is_kept(tmp_path):
    write(tmp_path, 1, 10)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    write(tmp_path, 11, 12, 10)
    found = steps(tmp_path)
    assert found == sorted(set(found))
    assert found[-2:] == [11, 12]


def test_steps_and_numbers_of_any_size_are_written(tmp_path):
    board = Board(tmp_path, 0)
    for n, value in ((1, math.inf), (2**40, 1e300), (2**62, 1e-300)):
        board.numbers(n, {"é": value})
    board.close()
    assert read(tmp_path)["é"] == [(1, math.inf), (2**40, math.inf), (2**62, 0.0)]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "tb").write_text("")
    with pytest.raises(StorageError, match="tb"):
        Board(tmp_path / "tb", 0)


def test_files_of_others_are_left_alone(tmp_path):
    other = tmp_path / "events.out.tfevents.1.elsewhere"
    other.write_bytes(b"")
    write(tmp_path, 1, 2)
    write(tmp_path, 1, 2)
    assert other.exists()
