"""Where a process stands, and what several of them cannot share."""

import pytest

from llmkit.errors import UsageError
from llmkit.recipe.load import load_recipe
from llmkit.training.parallel.place import Place, refuse_to_spread
from llmkit.training.parallel.world import World

MEETING = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


def test_without_torchrun_a_process_is_alone():
    assert Place.from_environment({}) == Place(0, 1, 0)
    assert Place.from_environment({}).is_first


def test_the_place_is_what_torchrun_says():
    place = Place.from_environment(
        {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING}
    )
    assert (place.rank, place.size, place.local_rank, place.local_size, place.is_first) == (5, 8, 1, 4, False)


def test_processes_that_nobody_told_where_to_meet_are_refused():
    with pytest.raises(UsageError, match="MASTER_ADDR"):
        Place.from_environment({"RANK": "0", "WORLD_SIZE": "2"})


@pytest.mark.parametrize(("rank", "size"), [("8", "8"), ("-1", "2"), ("x", "2"), ("0", "")])
def test_a_place_that_cannot_be_is_refused(rank, size):
    with pytest.raises(UsageError, match="torchrun"):
        Place.from_environment({"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": "0"})


def test_a_batch_that_cannot_be_shared_evenly_is_refused_with_the_nearest_that_can():
    recipe = load_recipe("gpt-mini", ["train.batch_size=10"])
    refuse_to_spread(recipe, 5)
    with pytest.raises(UsageError) as refused:
        refuse_to_spread(recipe, 4)
    assert "8 or 12" in str(refused.value)
    with pytest.raises(UsageError) as refused:
        refuse_to_spread(recipe, 16)
    assert "train.batch_size=16;" in str(refused.value)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("n", [0, 1, 7, 64])
def test_the_shares_of_all_processes_are_everything_once_and_in_order(size, n):
    shares = [World(Place(rank, size)).share(n) for rank in range(size)]
    assert [i for start, stop in shares for i in range(start, stop)] == list(range(n))
    assert max(stop - start for start, stop in shares) - min(stop - start for start, stop in shares) <= 1


def test_more_processes_than_long_examples_are_refused_before_the_first_step_and_not_at_the_last():
    recipe = load_recipe("bert-mini", ["train.batch_size=16", "train.seq_len=16", "objective.long_share=0.3"])
    refuse_to_spread(recipe, 2)
    with pytest.raises(UsageError) as refused:
        refuse_to_spread(recipe, 4)
    assert "2 long examples" in str(refused.value)
    assert "train.batch_size=32," in str(refused.value.hint)
    refuse_to_spread(load_recipe("bert-mini", ["train.batch_size=32", "train.seq_len=16"]), 4)
    refuse_to_spread(load_recipe("bert-mini", ["train.batch_size=16", "objective.long_share=0"]), 16)


def test_one_stdin_cannot_be_read_by_several():
    for setting in ("data.train=-", "data.validation=-", "data.target=-"):
        refuse_to_spread(load_recipe("gpt-mini", [setting]), 1)
        with pytest.raises(UsageError, match="cannot read one stdin"):
            refuse_to_spread(load_recipe("gpt-mini", [setting]), 2)


def test_a_model_that_drops_layers_is_not_cut_up():
    recipe = load_recipe("bart-mini", ["model.layer_drop=0.1", "train.parallel=fsdp"])
    refuse_to_spread(recipe, 1)
    with pytest.raises(UsageError, match="layer_drop"):
        refuse_to_spread(recipe, 2)
    refuse_to_spread(load_recipe("bart-mini", ["model.layer_drop=0.1"]), 2)


def test_alone_nothing_is_changed_by_asking_all():
    world = World()
    assert world.sums([1.5, 2.0]) == [1.5, 2.0]
    assert world.largest(7) == 7
    assert world.exchange({"a": 1}) == [{"a": 1}]
    assert world.first(lambda: 3) == 3
    with pytest.raises(UsageError), world.together():
        raise UsageError("no")


def test_attempts_are_told_apart_where_they_share_a_store():
    here = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "TORCHELASTIC_RESTART_COUNT": "2", **MEETING}
    assert Place.from_environment({**here, "LOCAL_WORLD_SIZE": "2"}).attempt == 2
    assert Place.from_environment({**here, "LOCAL_WORLD_SIZE": "1"}).attempt == 0
