"""Campaign C6: two runs of one name at once, and readers beside a run that saves and prunes all the time."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

from tests.campaign.victims import Victims, compare, remains, said


class Together(Victims):
    """Even trials start the same command twice: one trains, the other ends with 7. Odd ones read meanwhile."""

    def trial(self, number: int) -> str | None:
        return self.twice(number) if number % 2 == 0 else self.read_meanwhile(number)

    def twice(self, number: int) -> str | None:
        """Two starts within a moment."""
        rng = random.Random(f"together {self.seed} {number}")
        store = self.fresh(f"trial-{number}")
        first = self.fork(store)
        time.sleep(rng.random() * 0.05)
        second = self.fork(store)
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (first, second))
        # The later one may also come when all is done, and then has nothing to do.
        if codes not in ([0, 7], [0, 0]):
            return f"two at once ended with {codes}: {said(store)}"
        problem = compare(self.reference, remains(store))
        shutil.rmtree(store)
        return problem

    def read_meanwhile(self, number: int) -> str | None:
        """Load whatever is newest, over and over, while a run saves every step and keeps one checkpoint."""
        store = self.fresh(f"trial-{number}")
        flags = ["--set", "train.save_every=1", "--set", "train.keep=1", "--set", "train.eval_every=0"]
        writer = self.fork(store, *flags)
        problems: list[str] = []
        reads = 0
        while True:
            done, status = os.waitpid(writer, os.WNOHANG)
            reads += read(store, problems)
            if done:
                break
        code = os.waitstatus_to_exitcode(status)
        self.report.reads += reads
        if code != 0:
            return f"the run ended with {code}: {said(store)}"
        shutil.rmtree(store)
        return f"{len(problems)} of {reads} reads failed: {problems[0]}" if problems else None

    def fork(self, store: Path, *flags: str) -> int:
        """The victim's command in a child; its process id."""
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                with (store / f"said-{os.getpid()}").open("a") as out:
                    os.dup2(out.fileno(), 1)
                    os.dup2(out.fileno(), 2)
                from llmkit.cli.app import run

                code = run(["pretrain", str(self.recipe), "--store", str(store), *flags])
            finally:
                os._exit(code)
        return pid


def read(store: Path, problems: list[str]) -> int:
    """Load the newest checkpoint as commands do; 1 if there was one."""
    import llmkit
    from llmkit.errors import LlmkitError

    if not list(store.glob("victim/step-*/manifest.json")):
        return 0
    try:
        llmkit.load("victim", store=store)
    except LlmkitError as error:
        problems.append(error.message)
    return 1
