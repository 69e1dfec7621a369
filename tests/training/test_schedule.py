import pytest

from llmkit.recipe.schema import TrainSettings
from llmkit.training.schedule import WSD_DECAY, learning_rate


def rates(**options):
    settings = TrainSettings(**{"steps": 100, "lr": 2.0, "warmup_steps": 10, **options})
    return [learning_rate(step, settings) for step in range(settings.steps)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "wsd"])
def test_warm_up_rises_in_equal_parts_to_the_full_rate(schedule):
    assert rates(schedule=schedule)[:11] == pytest.approx([0.2 * (i + 1) for i in range(10)] + [2.0], rel=1e-2)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_the_rate_falls_to_its_floor_and_the_last_step_still_learns(schedule):
    found = rates(schedule=schedule, min_lr=0.1)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert 0.2 < found[-1] < 0.3


def test_constant_stays():
    assert set(rates(schedule="constant")[10:]) == {2.0}


def test_wsd_stays_until_the_last_part():
    found = rates(schedule="wsd", warmup_steps=0)
    assert set(found[: int(100 * (1 - WSD_DECAY))]) == {2.0}
    assert found[80] == pytest.approx(2.0 * 0.2 / WSD_DECAY)


def test_a_warm_up_longer_than_the_run_is_cut_to_it():
    assert rates(steps=4, warmup_steps=1000)[-1] == 2.0
