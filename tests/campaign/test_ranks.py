"""Several processes that train one run, in reduced size; `python -m tests.campaign ranks` and `parity` take any."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.campaign.ranks import RECIPE
from tests.campaign.test_campaigns import ROOT, campaign


def test_two_processes_that_hand_over_to_one_or_four_see_the_same_samples_and_follow_the_same_losses():
    done = campaign("--first", "9", "--trials", "2", what="parity")
    assert done.returncode == 0, done.stdout


def test_what_is_remembered_of_each_track_is_put_together_from_all_processes_and_handed_out_again():
    # FSDP in two processes, then alone; DDP in two, then FSDP in four.
    for first in ("8", "11"):
        done = campaign("--first", first, "--trials", "1", "--objective", "recurrent", what="parity")
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


@pytest.mark.campaign
def test_torchrun_starts_all_processes_anew_when_one_is_killed(tmp_path):
    (tmp_path / "victim.yaml").write_text(RECIPE.replace("steps: 9", "steps: 60"))
    run = tmp_path / "runs" / "again"
    flags = ["--store", "runs", "--run", "again", "--devices", "2"]
    command = [sys.executable, "-m", "llmkit", "pretrain", "victim.yaml", *flags]
    launcher = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        for _ in range(2400):
            if (run / "step-000006" / "manifest.json").exists():
                break
            time.sleep(0.05)
        os.kill(json.loads((run / "run.lock").read_text())["pid"], signal.SIGKILL)  # the first process
        assert launcher.wait(200) == 0
    finally:
        launcher.terminate()
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records if r["event"] == "step"] == list(range(1, 61))
    begun = [r["step"] for r in records if r["event"] == "start"]
    assert len(begun) == 2
    assert begun[1] >= 6
