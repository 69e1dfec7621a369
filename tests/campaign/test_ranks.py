"""Several processes that train one run, in reduced size; `python -m tests.campaign ranks` and `parity` take any."""

import pytest

from tests.campaign.test_campaigns import campaign


def test_two_processes_that_hand_over_to_one_or_four_see_the_same_samples_and_follow_the_same_losses():
    done = campaign("--first", "9", "--trials", "2", what="parity")
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
def test_what_befalls_one_of_two_processes_ends_both_alike():
    done = campaign("--trials", "6", what="mishaps")
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
def test_any_number_of_processes_sees_the_same_samples_and_follows_the_same_losses():
    done = campaign("--trials", "16", what="parity")
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
def test_two_processes_of_which_one_is_killed_resume_to_the_very_same_bits():
    done = campaign("--trials", "8", "--seed", "2", what="ranks")
    assert done.returncode == 0, done.stdout
