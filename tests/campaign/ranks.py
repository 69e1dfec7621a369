"""Two processes train one run; kill -9 takes one of them, at random, at any moment or inside a save.

The other must end by itself, soon and with a clean error. The same command then goes on, and in the end everything is
bit for bit what two processes leave that no one disturbed. Trials take DDP and FSDP in turn.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.campaign.victims import CALLS, Report, Trials, compare, logged, newest, records, warm_up

SAVE_EVERY, MOST_KILLS = 3, 3
# Seconds after which a process whose partner is gone must have ended; generous, for machines that are busy.
PATIENCE = 60.0
KINDS = ("ddp", "fsdp")
# Shorter than the recipes of the other campaigns: two processes on a busy machine take turns.
RECIPE = f"""
name: victim
model: {{family: gpt2, d_model: 32, n_layers: 2, n_heads: 2, max_seq_len: 16, dropout: 0.1, attention_dropout: 0.1}}
tokenizer: {{algorithm: char}}
data: {{train: stories, stories: 40, validation_fraction: 0.05}}
objective: {{name: causal}}
train:
  {{steps: 9, batch_size: 4, seq_len: 16, accumulate: 2, lr: 3.0e-3, warmup_steps: 3, log_every: 1, eval_every: 6,
   save_every: {SAVE_EVERY}, keep: 2, threads: 1, device: cpu, seed: 5}}
"""


class Ranks(Trials):
    """Runs of two processes in `directory`."""

    def __init__(self, directory: Path, seed: int, size: int = 2) -> None:
        self.directory, self.seed, self.size = directory, seed, size
        self.recipe = directory / "victim.yaml"
        self.recipe.write_text(RECIPE)
        self.report = Report()
        self.slowest = 0.0
        warm_up(directory, self.recipe)
        import_all()

        self.calls: dict[str, list[int]] = {}
        self.duration: dict[str, float] = {}
        self.reference: dict[str, dict[str, Any]] = {}
        for kind in KINDS:
            store, began = self.fresh(f"reference-{kind}"), time.perf_counter()
            codes = self.start(store, kind, counting=True)
            if codes != [0] * size:
                raise RuntimeError(f"the uninterrupted run ended with {codes}: {said(store)}")
            self.duration[kind] = time.perf_counter() - began
            self.calls[kind] = [int((store / f"calls-{rank}").read_text()) for rank in range(size)]
            self.reference[kind] = remains(store)

    def trial(self, number: int) -> str | None:
        """Kill one of them, type the command again, perhaps kill again, then let it end."""
        rng = random.Random(f"ranks {self.seed} {number}")
        kind = KINDS[number % 2]
        store = self.fresh(f"trial-{number}")
        kills = 0
        for attempt in range(50):
            last = kills == MOST_KILLS or (kills > 0 and rng.random() < 0.5)
            rank = rng.randrange(self.size)
            fate: dict[str, Any] = {}
            if not last and rng.random() < 0.5 and self.calls[kind][rank]:
                fate = {"call": rng.randrange(self.calls[kind][rank])}
            elif not last:
                fate = {"after": rng.random() * self.duration[kind]}
            before = logged(store)
            codes = self.start(store, kind, rank, **fate)
            if codes == [0] * self.size:
                if kills:
                    break
                store = self.fresh(f"trial-{number}")  # it was faster than its fate
                continue
            kills += 1
            others = [code for r, code in enumerate(codes) if r != rank]
            if codes[rank] != -signal.SIGKILL or any(code not in (0, 1, 75, 143, -15) for code in others):
                return f"{kind}, attempt {attempt} ended with {codes}: {said(store)}"
            self.report.kills += 1
            self.report.kills_in_save += "call" in fate
            lost = max(before, logged(store)) - newest(store)
            self.report.most_lost = max(self.report.most_lost, lost)
            if lost > SAVE_EVERY:
                return f"{kind}, attempt {attempt} lost {lost} steps"
        else:
            return "no kill in 50 attempts"
        problem = compare(self.reference[kind], remains(store))
        shutil.rmtree(store)
        return f"{kind}: {problem}" if problem else None

    def start(
        self,
        store: Path,
        kind: str,
        victim: int = 0,
        *,
        size: int | None = None,
        after: float | None = None,
        call: int | None = None,
        counting: bool = False,
        flags: tuple[str, ...] = (),
    ) -> list[int]:
        """Type the command in forked children and wait for all; their exit codes.

        after, call: when `victim` is killed, in seconds, or at the n-th file call inside a save.
        """
        size = size or self.size

        def prepare(rank: int) -> Callable[[], None]:
            count = die_in_save(call if rank == victim else None) if counting or call is not None else [0]
            return lambda: counting and (store / f"calls-{rank}").write_text(str(count[0]))

        more = ("--set", f"train.parallel={kind}", *flags)
        children = fork(self.recipe, store, size, more, prepare)
        if after is not None:
            time.sleep(after)
            os.kill(children[victim], signal.SIGKILL)
        codes, slowest = wait(children)
        self.slowest = max(self.slowest, slowest)
        return codes

    def fresh(self, name: str) -> Path:
        """A store that holds the tokenized text."""
        store = self.directory / name
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.directory / "cache-only", store)
        return store


def fork(
    recipe: Path,
    store: Path,
    size: int,
    flags: tuple[str, ...] = (),
    prepare: Callable[[int], Callable[[], object]] = lambda rank: lambda: None,
) -> list[int]:
    """Type `llmkit pretrain RECIPE` in `size` forked children that are to train together; their process ids.

    prepare: called in each child first; what it returns, last.
    """
    port = free_port()
    children = []
    for rank in range(size):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                with (store / f"said-{rank}").open("a") as out:
                    os.dup2(out.fileno(), 1)
                    os.dup2(out.fileno(), 2)
                if size > 1:
                    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
                    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
                finish = prepare(rank)
                from llmkit.cli.app import run

                code = run(["pretrain", str(recipe), "--store", str(store), *flags])
                finish()
            finally:
                os._exit(code)
        children.append(pid)
    return children


def wait(children: list[int]) -> tuple[list[int], float]:
    """Exit codes, and the seconds from the first end that was not well to the last.

    As torchrun does, the others are asked to end then. Who does not in time is ended: code -6.
    """
    codes: dict[int, int] = {}
    since, slowest = None, 0.0
    while len(codes) < len(children):
        for pid in children:
            if pid not in codes:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    codes[pid] = os.waitstatus_to_exitcode(status)
                    if codes[pid] and since is None:
                        since = time.monotonic()
                        for other in set(children) - codes.keys():
                            os.kill(other, signal.SIGTERM)
                    slowest = time.monotonic() - since if since else 0.0
        if since and time.monotonic() > since + PATIENCE:
            for pid in children:
                if pid not in codes:
                    os.kill(pid, signal.SIGABRT)
            since = None
        time.sleep(0.01)
    return [codes[pid] for pid in children], slowest


def import_all() -> None:
    """What PyTorch's wrappers import, so that victims need not."""
    import torch._dynamo
    import torch.distributed.fsdp
    import torch.distributed.tensor  # noqa: F401


def die_in_save(call: int | None) -> list[int]:
    """Count the file calls made inside saves, by whichever process, and die at one of them."""
    from llmkit.checkpoint.store import RunDirectory
    from llmkit.training.parallel import saving

    count, inside = [0], [False]

    def counted(real: Any) -> Any:
        def make(*args: Any, **kwargs: Any) -> Any:
            if inside[0]:
                number, count[0] = count[0], count[0] + 1
                if number == call:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return make

    def watched(real: Any) -> Any:
        def within(*args: Any, **kwargs: Any) -> Any:
            before, inside[0] = inside[0], True
            try:
                return real(*args, **kwargs)
            finally:
                inside[0] = before

        return within

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    for owner, name in ((RunDirectory, "save"), (RunDirectory, "prune"), (saving, "write_share")):
        setattr(owner, name, watched(getattr(owner, name)))
    return count


def remains(store: Path) -> dict[str, Any]:
    """What a run left: digests of everything that is a function of the recipe, its logged numbers, odd files."""
    steps = sorted(p for p in (store / "victim").iterdir() if p.name.startswith("step-"))
    left = sorted(str(p.relative_to(store)) for p in store.rglob(".*") if p.name != ".cache")
    return {
        "files": [p.name for p in steps],
        "left over": left,
        "digests": {
            f"{p.name}/{f.name}": hashlib.sha256(f.read_bytes()).hexdigest()
            for p in steps
            for f in sorted(p.iterdir())
            if f.name not in ("manifest.json", "recipe.yaml")
        },
        "losses": [
            (r["event"], r["step"], float(r["loss"]).hex())
            for r in records(store)
            if r["event"] in ("step", "eval") and r.get("loss") is not None
        ],
    }


def said(store: Path) -> str:
    """The last words of each process."""
    return " || ".join(p.read_text()[-400:].replace("\n", " | ") for p in sorted(store.glob("said-*")))


def free_port() -> int:
    """A port that no one listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
