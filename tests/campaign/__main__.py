"""python -m tests.campaign kill --trials 100 --seed 1; likewise signals, faults, power, corruption, together, ranks,
parity.

Every trial follows from the seed and its number, so that any can be run again: --first N --trials 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

WHAT = {
    "kill": "C1: kill -9 at random moments, resume, compare bit for bit",
    "faults": "C2: the n-th file call fails, for each n: nothing is lost, and the same command goes on",
    "power": "C3: the power fails at any moment of a save, and the disk keeps what it likes",
    "corruption": "C4: damage in every file of a checkpoint: always noticed, the older one is used",
    "signals": "C5: TERM, INT, USR1, HUP at random moments: in time, exact",
    "together": "C6: two runs at once, and readers beside a run",
    "ranks": "R9: kill -9 one of two processes that train together, resume, compare bit for bit",
    "mishaps": "R5, R8, R13: what befalls one of two processes ends both alike",
    "parity": "C8: in 1, 2 and 4 processes, also one after another: the same samples, the same losses within 1e-5",
}
MUTATIONS = {"kill": "naive-writer", "power": "no-fsync"}


def main() -> int:
    from tests.campaign.parity import MODELS
    from tests.campaign.recipes import RECIPES

    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, about in WHAT.items():
        command = commands.add_parser(name, help=about)
        command.add_argument("--trials", type=int, default=100)
        command.add_argument("--first", type=int, default=0, help="number of the first trial, to run one again")
        command.add_argument("--seed", type=int, default=1)
        if name in ("kill", "signals"):
            choices = [*RECIPES, "all"]
            command.add_argument("--objective", default="causal", choices=choices, help="all: the trials for each")
        if name == "parity":
            command.add_argument("--objective", default="causal", choices=[*MODELS], help="what the model learns")
        if name in MUTATIONS:
            command.add_argument("--mutate", choices=[MUTATIONS[name]], help="break it on purpose: must be found")
    options = parser.parse_args()
    # One thread: a child forked beside worker threads may hang, and sums in another order are not equal bit for bit.
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", TORCH_CPP_LOG_LEVEL="ERROR")
    objective = getattr(options, "objective", "causal")
    failures = []
    for one in RECIPES if objective == "all" else [objective]:
        with tempfile.TemporaryDirectory() as directory:
            campaign = make(options, Path(directory), one)
            print(f"{options.what} {one}, seed {options.seed}: {campaign.calls} file calls", flush=True)
            part = max(50, options.trials // 10)
            for done in range(0, options.trials, part):
                campaign.run(min(part, options.trials - done), options.first + done)
                print(campaign.report, flush=True)
            failures += campaign.report.failures
    for failure in failures:
        print(failure)
    return bool(failures)


def make(options: argparse.Namespace, directory: Path, objective: str) -> Any:
    """The campaign that the command names."""
    from tests.campaign.corruption import Corruption
    from tests.campaign.faults import Faults
    from tests.campaign.kill import Kills, naive_writer
    from tests.campaign.mishaps import Mishaps
    from tests.campaign.parity import Parity
    from tests.campaign.power import PowerLoss, no_fsync
    from tests.campaign.ranks import Ranks
    from tests.campaign.signals import Signals
    from tests.campaign.together import Together

    if options.what == "ranks":
        return Ranks(directory, options.seed)
    if options.what == "mishaps":
        return Mishaps(directory)
    if options.what == "parity":
        return Parity(directory, objective=objective)
    if options.what == "power":
        return PowerLoss(directory, options.seed, no_fsync if options.mutate else lambda: None)
    kinds = {"kill": Kills, "signals": Signals, "faults": Faults, "corruption": Corruption, "together": Together}
    mutate = naive_writer if getattr(options, "mutate", None) else lambda: None
    return kinds[options.what](directory, options.seed, mutate, objective)


if __name__ == "__main__":
    sys.exit(main())
