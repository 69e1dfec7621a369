"""python -m tests.campaign kill --trials 100 --seed 1; likewise `signals`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    kill = commands.add_parser("kill", help="kill -9 at random moments, resume, compare bit for bit")
    kill.add_argument("--trials", type=int, default=100)
    kill.add_argument("--first", type=int, default=0, help="number of the first trial, to run one again")
    kill.add_argument("--seed", type=int, default=1)
    kill.add_argument("--mutate", choices=["naive-writer"], help="break the protocol on purpose: must be found")
    signals = commands.add_parser("signals", help="TERM, INT, USR1, HUP at random moments, resume, compare")
    signals.add_argument("--trials", type=int, default=100)
    signals.add_argument("--first", type=int, default=0, help="number of the first trial, to run one again")
    signals.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # One thread: a child forked beside worker threads may hang, and sums in another order are not equal bit for bit.
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    from tests.campaign.kill import Campaign, naive_writer

    with tempfile.TemporaryDirectory() as directory:
        mutate = naive_writer if getattr(options, "mutate", None) else lambda: None
        campaign = Campaign(Path(directory), options.seed, mutate)
        print(f"seed {options.seed}: a run takes {campaign.duration:.2f} s, {campaign.calls} file calls in its saves")
        for done in range(0, options.trials, 10):
            n = min(10, options.trials - done)
            run = campaign.run if options.what == "kill" else campaign.run_signals
            run(n, options.first + done)
            print(campaign.report, flush=True)
    for failure in campaign.report.failures:
        print(failure)
    return bool(campaign.report.failures)


if __name__ == "__main__":
    sys.exit(main())
