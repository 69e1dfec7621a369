"""Entry point of the `llmkit` command and of `python -m llmkit`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from llmkit.cli.app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
