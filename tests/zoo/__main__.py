"""python -m tests.zoo table | speed | exact | hunt: write docs/zoo.md; time families beside transformers; the largest
differences from the oracle; parity on configurations crossed at random."""

from __future__ import annotations

import argparse
import os


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("table", help="write docs/zoo.md")
    speed = commands.add_parser("speed", help="forward and backward, one thread, CPU time, in turn with transformers")
    speed.add_argument("families", nargs="*")
    speed.add_argument("--pairs", type=int, default=5)
    exact = commands.add_parser("exact", help="largest differences from the oracle over all awkward cases")
    exact.add_argument("families", nargs="*")
    hunt = commands.add_parser("hunt", help="parity on settings of awkward cases crossed at random")
    hunt.add_argument("families", nargs="*")
    hunt.add_argument("--trials", type=int, default=20, help="configurations of each family")
    hunt.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.what == "table":
        from tests.zoo.table import write

        write()
        return 0
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    if options.what == "exact":
        from tests.zoo.exact import report as differences

        differences(options.families)
        return 0
    if options.what == "hunt":
        from tests.zoo.hunt import hunt as search

        found = search(options.families, options.trials, options.seed)
        print(", ".join(f"{n} {what}" for what, n in sorted(found.items())))
        return 1 if found["bad"] else 0
    from tests.zoo.speed import report

    report(options.families, options.pairs)
    return 0


raise SystemExit(main())
