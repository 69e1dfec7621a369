"""Several processes that train one run, in reduced size; `python -m tests.campaign ranks` and `parity` take any."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from llmkit.cli.launched import is_alive
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


class Started:
    """A run in two processes: its launcher, and where the files of all lie."""

    def __init__(self, directory, steps=4000, before=(), recipe=RECIPE):
        (directory / "victim.yaml").write_text(recipe.replace("steps: 9", f"steps: {steps}"))
        (directory / "tmp").mkdir()
        self.directory, self.run = directory, directory / "runs" / "again"
        command = [*before, sys.executable, "-m", "llmkit", "pretrain", "victim.yaml"]
        command += ["--store", "runs", "--run", "again", "--devices", "2"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory / "tmp")}
        # The tests themselves may run under nohup, or in the background of a script, and hand that down.
        self.launcher = subprocess.Popen(
            command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=hear_all
        )

    def number(self, name):
        """The process number in a file of the launcher's, once it is there."""
        until(lambda: any(path.read_text() for path in self.directory.glob(f"tmp/llmkit-*/{name}")))
        return int(next(self.directory.glob(f"tmp/llmkit-*/{name}")).read_text())

    def wait_for_step(self, step):
        until((self.run / f"step-{step:06}" / "manifest.json").exists)

    def records(self, event):
        lines = (self.run / "metrics.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["event"] == event]

    def end(self):
        """The exit code and what was said, once all is over."""
        _, said = self.launcher.communicate(timeout=200)
        assert not list(self.directory.glob("tmp/llmkit-*"))
        return self.launcher.returncode, said


@pytest.fixture
def started(tmp_path):
    found = []

    def start(*args, **kw):
        found.append(Started(tmp_path, *args, **kw))
        return found[0]

    yield start
    for run in found:
        run.launcher.terminate()


def hear_all():
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)


def until(happened):
    for _ in range(2400):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("nothing came of it in two minutes")


@pytest.mark.campaign
def test_torchrun_starts_all_processes_anew_when_one_is_killed(started):
    run = started(steps=60)
    run.wait_for_step(6)
    os.kill(json.loads((run.run / "run.lock").read_text())["pid"], signal.SIGKILL)  # the first process
    code, said = run.end()
    assert code == 0
    assert "a process ended; all are started again (1 of 3)" in said
    assert [r["step"] for r in run.records("step")] == list(range(1, 61))
    begun = [r["step"] for r in run.records("start")]
    assert len(begun) == 2
    assert begun[1] >= 6


@pytest.mark.campaign
def test_a_process_that_dies_before_training_begins_is_no_wish_to_end(started):
    run = started(steps=9)
    run.number("hearing")
    os.kill(run.number("1"), signal.SIGKILL)
    code, said = run.end()
    assert code == 0
    assert "stopped by" not in said


@pytest.mark.campaign
def test_a_signal_reaches_a_run_that_has_only_just_been_started(started):
    run = started()
    run.number("0")  # it is there, and does not hear signals yet
    run.launcher.send_signal(signal.SIGTERM)
    code, said = run.end()
    assert code == 143
    assert "stopped by SIGTERM while getting ready" in said


@pytest.mark.campaign
def test_a_signal_reaches_a_run_that_is_being_started_again(started):
    run = started()
    run.wait_for_step(3)
    os.kill(run.number("1"), signal.SIGKILL)
    time.sleep(1)
    run.launcher.send_signal(signal.SIGTERM)
    assert run.end()[0] == 75


@pytest.mark.campaign
def test_a_run_under_nohup_does_not_hear_the_terminal_close(started):
    run = started(steps=60, before=["nohup"])
    run.wait_for_step(3)
    run.launcher.send_signal(signal.SIGHUP)
    assert run.end()[0] == 0


@pytest.mark.campaign
def test_a_paused_run_does_nothing_and_goes_on(started):
    run = started()
    run.wait_for_step(3)
    run.launcher.send_signal(signal.SIGTSTP)
    time.sleep(1)
    before = len(run.records("step"))
    time.sleep(2)
    assert len(run.records("step")) == before
    run.launcher.send_signal(signal.SIGCONT)
    until(lambda: len(run.records("step")) > before)
    run.launcher.send_signal(signal.SIGTERM)
    assert run.end()[0] == 75


@pytest.mark.campaign
def test_a_run_whose_launcher_was_killed_saves_and_ends(started):
    run = started()
    run.wait_for_step(3)
    first, second = run.number("0"), run.number("1")
    run.launcher.kill()
    run.launcher.wait()
    until(lambda: not is_alive(first) and not is_alive(second))
    assert next(run.directory.glob("tmp/llmkit-*/verdict")).read_text() == "75"
    last = run.records("step")[-1]["step"]
    assert (run.run / f"step-{last:06}" / "manifest.json").exists()


LONG_TEXT = "train: words.txt, validation_fraction: 0.05"


def while_learning(started, directory):
    """A run whose first process learns a tokenizer, for seconds, while the other waits for it."""
    rng = random.Random(0)
    words = "\n".join(" ".join(f"w{rng.randrange(10**7):x}" for _ in range(50)) for _ in range(60_000))
    (directory / "words.txt").write_text(words)
    text = "train: stories, stories: 40, validation_fraction: 0.05"
    assert text in RECIPE
    recipe = RECIPE.replace(text, LONG_TEXT).replace("algorithm: char", "algorithm: unigram, vocab_size: 8000")
    run = started(recipe=recipe)
    run.number("hearing")
    processes = run.number("0"), run.number("1")
    time.sleep(3)
    assert all(map(is_alive, processes))
    return run, processes


@pytest.mark.campaign
def test_a_run_whose_launcher_is_killed_while_others_wait_for_the_first_process_ends(started, tmp_path):
    run, processes = while_learning(started, tmp_path)
    run.launcher.kill()
    run.launcher.wait()
    until(lambda: not any(map(is_alive, processes)))


@pytest.mark.campaign
def test_ctrl_c_while_others_wait_for_the_first_process_is_heard_soon(started, tmp_path):
    run, processes = while_learning(started, tmp_path)
    run.launcher.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert run.end()[0] == 130
    assert time.monotonic() - began < 12
    assert not any(map(is_alive, processes))


@pytest.mark.campaign
def test_ctrl_backslash_leaves_no_process_behind(started):
    run = started()
    run.wait_for_step(3)
    first, second = run.number("0"), run.number("1")
    run.launcher.send_signal(signal.SIGQUIT)
    assert run.end()[0] == 131
    assert not is_alive(first)
    assert not is_alive(second)
