"""What the processes of one run tell the one that started them."""

import os
import signal
import subprocess
import sys

import pytest

from llmkit.cli.launch import _Launch
from llmkit.cli.launched import ASKED, HEARING, LAUNCHER, PLACE, VERDICT, deliver, is_alive, sign_in, was_asked


@pytest.fixture
def started(tmp_path, monkeypatch):
    def as_rank(rank):
        monkeypatch.setenv(PLACE, str(tmp_path))
        monkeypatch.setenv("RANK", str(rank))
        return tmp_path

    return as_rank


def test_without_a_launcher_codes_are_passed_through():
    assert sign_in()
    assert [deliver(code) for code in (0, 1, 5, 75)] == [0, 1, 5, 75]


@pytest.mark.parametrize("code", [0, 2, 4, 5, 7, 74, 75, 130])
def test_the_first_process_writes_down_how_the_run_ended_and_is_not_started_anew(code, started):
    place = started(0)
    assert sign_in()
    assert deliver(code) == 0
    assert (place / VERDICT).read_text() == str(code)
    assert not sign_in()


@pytest.mark.parametrize("code", [1, 70])
def test_a_lost_process_or_a_bug_may_be_tried_again(code, started):
    place = started(0)
    assert deliver(code) == code
    assert not (place / VERDICT).exists()
    assert sign_in()


def test_another_process_only_reports_what_the_first_may_not_know(started):
    place = started(1)
    for code in (0, 75, 130):
        assert deliver(code) == 0
    assert not (place / VERDICT).exists()
    assert deliver(6) == 0
    assert (place / VERDICT).read_text() == "6"
    assert deliver(74) == 0
    assert (place / VERDICT).read_text() == "6"


def test_nothing_is_begun_when_the_launcher_is_gone(started, monkeypatch):
    started(0)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    monkeypatch.setenv(LAUNCHER, str(gone.pid))
    assert not is_alive(gone.pid)
    assert not sign_in()


def test_a_signal_that_nobody_asked_for_is_torchrun_s(started):
    assert was_asked(), "without a launcher every signal is the user's"
    place = started(1)
    assert not was_asked()
    (place / ASKED).touch()
    assert was_asked()


def test_what_is_asked_is_told_once_to_each_first_process_that_hears(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(os, "kill", lambda process, number: told.append((process, number)))
    launch = _Launch(tmp_path)
    launch._note(signal.SIGTERM, None)
    assert not launch._tell()
    for process in (101, 101, 102, 102):
        (tmp_path / HEARING).write_text(str(process))
        assert launch._tell()
    launch._note(signal.SIGINT, None)
    assert launch._tell()
    assert told == [(101, signal.SIGTERM), (102, signal.SIGTERM), (102, signal.SIGINT)]


def test_a_batch_that_processes_cannot_share_is_refused_before_any_is_started(llmkit):
    done = llmkit("pretrain", "gpt-mini", "--devices", "3")
    assert done.code == 2
    assert "15 or 18" in done.err


def test_finetuning_in_several_processes_is_refused(llmkit, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    done = llmkit("finetune", "sst2")
    assert done.code == 2
    assert "finetune trains in one process" in done.err


@pytest.mark.parametrize("flag", ["--dry-run", "--auto-batch"])
def test_what_is_for_one_process_is_refused_before_any_is_started(flag, llmkit):
    done = llmkit("pretrain", "gpt-mini", "--devices", "2", flag)
    assert done.code == 2
    assert f"{flag} is for one process" in done.err
