"""Signals before there is anything to save, in processes of their own."""

import os
import signal
import subprocess
import sys

import pytest

from llmkit.training.signals import StopRequest

# An import that takes a signal for a library that is not there, as numpy's does, and another thread that waits for it.
HARD_TO_STOP = """
import os, signal, sys, time
from llmkit.training.signals import StopRequest

def farewell(stop):
    print("bye", stop.name, flush=True)
    return 33

with StopRequest(farewell) as stop:
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(5)
    except BaseException:
        pass
    print("still here")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_before_there_is_state_a_signal_ends_the_program_whatever_is_going_on(name):
    done = subprocess.run([sys.executable, "-c", HARD_TO_STOP.format(name=name)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (33, f"bye {name}\n")


def test_afterwards_a_signal_is_only_noted():
    with StopRequest() as stop:
        stop.defer()
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stop.requested, stop.name, stop.exit_code) == (True, "SIGTERM", 75)
