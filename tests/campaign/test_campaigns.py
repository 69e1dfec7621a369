"""The campaigns in reduced size: a few trials in the default suite, more with `-m campaign`, any number by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign.recipes import RECIPES

ROOT = Path(__file__).parents[2]


def campaign(*options, what="kill"):
    command = [sys.executable, "-m", "tests.campaign", what, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert not done.stderr, done.stderr
    return done


def test_killed_runs_resume_to_the_very_same_bits():
    done = campaign("--trials", "3", "--seed", "1")
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
def test_more_killed_runs_resume_to_the_very_same_bits():
    done = campaign("--trials", "20", "--seed", "2")
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
def test_the_campaign_finds_a_writer_that_is_not_safe():
    done = campaign("--trials", "12", "--seed", "2", "--mutate", "naive-writer")
    assert done.returncode == 1
    assert "no manifest" in done.stdout


@pytest.mark.campaign
def test_runs_asked_to_end_do_so_in_time_and_go_on_exactly():
    done = campaign("--trials", "20", "--seed", "3", what="signals")
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
@pytest.mark.parametrize("what", ["faults", "together"])
def test_failing_calls_and_company_lose_nothing(what):
    done = campaign("--trials", "20", "--seed", "4", what=what)
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
def test_a_power_failure_leaves_the_old_checkpoint_or_the_new_one():
    done = campaign("--trials", "2000", "--seed", "5", what="power")
    assert done.returncode == 0, done.stdout


def test_the_campaign_finds_a_writer_that_trusts_the_disk():
    done = campaign("--trials", "200", "--seed", "5", "--mutate", "no-fsync", what="power")
    assert done.returncode == 1
    assert "a run finds None" in done.stdout


def test_damage_in_any_file_of_a_checkpoint_is_noticed():
    done = campaign("--trials", "60", "--seed", "6", what="corruption")
    assert done.returncode == 0, done.stdout


@pytest.mark.campaign
@pytest.mark.parametrize("objective", [name for name in RECIPES if name != "causal"])
def test_every_objective_resumes_to_the_very_same_bits(objective):
    done = campaign("--trials", "3", "--seed", "7", "--objective", objective)
    assert done.returncode == 0, done.stdout
