"""Campaign C1: kill a run with -9 at random moments, half of them inside a save, and type the same command again.

A trial passes when the run ends and everything it leaves is bit for bit what an uninterrupted run leaves: weights,
optimizer state, every loss; each step logged once; no temporary file. Any trial can be repeated by its number.
"""

from __future__ import annotations

import random
import shutil
import signal
from typing import Any

from tests.campaign.recipes import SAVE_EVERY
from tests.campaign.victims import Fate, Victims, compare, logged, newest, remains, said

MOST_KILLS = 4


class Kills(Victims):
    """Kill -9."""

    def trial(self, number: int) -> str | None:
        """Kill, resume, perhaps kill again, then let it end. Returns what went wrong, or None."""
        rng = random.Random(f"{self.seed} {number}")
        store = self.fresh(f"trial-{number}")
        kills = 0
        for attempt in range(50):
            last = kills == MOST_KILLS or (kills > 0 and rng.random() < 0.5)
            fate = Fate() if last else self.fate(rng)
            before = logged(store)
            code = self.start(store, fate)
            if code == 0:
                if kills:
                    break
                store = self.fresh(f"trial-{number}")  # it was faster than its fate
                continue
            kills += 1
            if code != -signal.SIGKILL:
                return f"attempt {attempt} ended with {code}: {said(store)}"
            self.report.kills += 1
            self.report.kills_in_save += fate.call is not None
            lost = max(before, logged(store)) - newest(store)
            self.report.most_lost = max(self.report.most_lost, lost)
            if lost > SAVE_EVERY:
                return f"attempt {attempt} lost {lost} steps"
        else:
            return "no kill in 50 attempts"
        problem = compare(self.reference, remains(store))
        shutil.rmtree(store)
        return problem

    def fate(self, rng: random.Random) -> Fate:
        """Half of the deaths are uniform in time, half aimed inside a save."""
        if rng.random() < 0.5:
            return Fate(after=rng.random() * self.duration)
        return Fate(call=rng.randrange(self.calls), half=rng.random() < 0.5)


def naive_writer() -> None:
    """What most trainers do: write straight into step-N, and on resume take the newest by its number."""
    from llmkit.checkpoint import manifest, store

    def save(self: Any, step: int, write: Any, *, meta: Any, predicted_bytes: int | None = None) -> Any:
        final = self.path / f"step-{step:06d}"
        if not final.exists():
            final.mkdir()
            write(final)
            described = manifest.describe(final, step=step, parent=None, meta=meta)
            (final / manifest.NAME).write_bytes(described.to_bytes())
        return store.Checkpoint(final, step)

    def latest_valid(self: Any, on_fallback: Any) -> Any:
        steps = self.steps()
        return steps[-1] if steps else None

    store.RunDirectory.save = save  # type: ignore[method-assign]
    store.RunDirectory.latest_valid = latest_valid  # type: ignore[method-assign]
