"""Processes that wait for each other."""

import os
import socket
import subprocess
import sys
import time

WAITING = """
import time
from datetime import timedelta
import torch
from llmkit.training.parallel import world as module
from llmkit.training.parallel.place import Place
module.PATIENCE = timedelta(seconds=2)
world = module.join(Place.from_environment(), torch.device("cpu"))
made = world.first(lambda: time.sleep(5) or "made", patient=True)
print(world.sums([world.rank + 1.0]), made)
"""


def start(code, rank, port):
    place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code], env=os.environ | place, **streams)


def free_port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def test_others_wait_for_the_first_process_longer_than_an_exchange_may_take():
    port, began = free_port(), time.monotonic()
    both = [start(WAITING, rank, port) for rank in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [out.strip() for out, _ in said] == ["[3.0] made", "[3.0] None"]
    assert time.monotonic() - began > 5


def test_an_address_in_use_is_said_and_not_taken_for_a_lost_process(tmp_path):
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        code = "from llmkit.cli.app import run; import sys; sys.exit(run(sys.argv[1:]))"
        (tmp_path / "a.txt").write_text("some words " * 1000)
        command = ["pretrain", "gpt-mini", "--set", f"data.train={tmp_path / 'a.txt'}", "--store", str(tmp_path)]
        one = start(f"import sys; sys.argv[1:] = {command!r}; {code}", 0, taken.getsockname()[1])
        _, err = one.communicate(timeout=120)
    assert one.returncode == 1
    assert "process 0 of 2 could not reach the others (" in err
    assert "in use" in err
