import ctypes
import subprocess
import sys

import pytest

from llmkit.training import heap

FAULTS = """
import resource, sys, torch
from llmkit.training.heap import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
x = torch.zeros(10 * 2**20)  # 40 MB: beyond what the C library ever keeps by itself
def add():
    return (x + 1) + (x + 2)
for _ in range(6):
    add()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    add()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no mallopt")
def test_tensors_of_the_same_sizes_cost_no_new_pages():
    def faults(how):
        done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert faults("keep") * 10 < faults("leave")


def test_elsewhere_nothing_is_told(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not heap.keep_freed_memory()


def test_a_c_library_without_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    assert not heap.keep_freed_memory()
