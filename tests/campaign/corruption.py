"""Campaign C4: damage each file of a checkpoint in every way a disk can; all of it must be noticed.

A run that goes on must take the older checkpoint and say why; whoever names the damaged one must be refused.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.campaign.victims import Victims

# Files that a model is loaded without. (A swap may hit one of them and one that matters.)
TRAINING_ONLY = ("state.json", "state.safetensors", "recipe.yaml", "tokenizer.json", "tokenizer_config.json")
Damage = Callable[[Path, random.Random], bool]


class Corruption(Victims):
    """One damaged file a trial: its number says which file and how."""

    def trial(self, number: int) -> str | None:
        from llmkit.checkpoint.hf_layout import read_model
        from llmkit.checkpoint.store import RunDirectory
        from llmkit.errors import InputRefused

        rng = random.Random(f"{self.seed} {number}")
        store = self.directory / "damaged"
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.directory / "reference", store)
        run = RunDirectory(store / "victim")
        older, newest = run.checkpoints()[-2:]
        files = sorted(p for p in newest.path.iterdir())
        path = files[number % len(files)]
        damage = DAMAGES[(number // len(files)) % len(DAMAGES)]
        if not damage(path, rng):
            return None
        what = f"{damage.__name__} of {path.name}"
        told: list[str] = []
        found = RunDirectory(run.path).latest_valid(lambda broken, reason: told.append(reason))
        if found is None or found.step != older.step or len(told) != 1:
            return f"{what}: went on from {found and found.step} and said {told}"
        if path.name in TRAINING_ONLY:
            return None  # who only wants the model does not read it
        try:
            read_model(newest.path)
        except InputRefused:
            return None
        except FileNotFoundError as error:
            return f"{what}: {error!r} instead of a refusal"
        return f"{what}: the damaged checkpoint was loaded"


def truncation(path: Path, rng: random.Random) -> bool:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(rng.randrange(size))
    return True


def flipped_bit(path: Path, rng: random.Random) -> bool:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    return True


def zeroed_page(path: Path, rng: random.Random) -> bool:
    data = bytearray(path.read_bytes())
    start = rng.randrange(0, len(data), 4096)
    before = bytes(data[start : start + 4096])
    data[start : start + 4096] = bytes(len(before))
    path.write_bytes(data)
    return before.strip(b"\0") != b""


def deletion(path: Path, rng: random.Random) -> bool:
    path.unlink()
    return True


def swap(path: Path, rng: random.Random) -> bool:
    other = rng.choice([p for p in path.parent.iterdir() if p != path])
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)
    return mine != theirs


def growth(path: Path, rng: random.Random) -> bool:
    with path.open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 100)))
    return True


DAMAGES: tuple[Damage, ...] = (truncation, flipped_bit, zeroed_page, deletion, swap, growth)
