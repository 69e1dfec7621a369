"""python -m tests.zoo table | speed [FAMILY ...]: write docs/zoo.md, or time families beside transformers."""

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
    options = parser.parse_args()
    if options.what == "table":
        from tests.zoo.table import write

        write()
        return 0
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    from tests.zoo.speed import report

    report(options.families, options.pairs)
    return 0


raise SystemExit(main())
