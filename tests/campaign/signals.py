"""Campaign C5: ask a run to end at random moments; each time it must say so in time and go on exactly."""

from __future__ import annotations

import random
import shutil
import signal

from tests.campaign.recipes import STEPS
from tests.campaign.victims import Fate, Victims, _first_difference, newest, remains, said

# Seconds in which a run that was asked to end must be gone; generous, for machines that are busy.
PATIENCE = 5.0


class Signals(Victims):
    """TERM, INT, USR1 and HUP."""

    def trial(self, number: int) -> str | None:
        """Send TERM, INT, USR1 or HUP at a random moment, up to three times, then let the run end."""
        rng = random.Random(f"signal {self.seed} {number}")
        store = self.fresh(f"trial-{number}")
        for attempt in range(4):
            asked = rng.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
            fate = Fate(after=rng.random() * self.duration, signal=asked) if attempt < 3 else Fate()
            code = self.start(store, fate)
            if code == 0:
                break
            self.report.kills += 1
            saved = 130 if asked == signal.SIGINT else 75
            # With nothing saved yet a shell's own number says how it ended; before there are handlers, the signal.
            early = [-asked, *([128 + asked] if not newest(store) else [])]
            if code != saved and code not in early:
                return f"{asked.name} at {fate.after:.3f} s ended with {code}: {said(store)}"
            if self.waited > PATIENCE:
                return f"{asked.name} at {fate.after:.3f} s was heard after {self.waited:.1f} s"
        have = remains(store)
        last = f"step-{STEPS:06d}/"
        for key in ("losses", "left over"):
            if have[key] != self.reference[key]:
                return f"{key} differ: {_first_difference(self.reference[key], have[key])}"
        for name, digest in self.reference["digests"].items():
            if name.startswith(last) and have["digests"].get(name) != digest:
                return f"{name} differs"
        shutil.rmtree(store)
        return None
