"""The kill campaign, in three sizes: a few trials in the default suite, more with `-m campaign`, any number by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

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
