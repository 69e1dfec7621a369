"""Entry point of the `llmkit` command and of `python -m llmkit`."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

# Until the program is there to say something, Ctrl-C ends it silently, not with a traceback of its imports.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


# Threads of one product that wait for each other spin for milliseconds, and beside any other load they spin while the
# one they wait for is not running: a step took twenty times as long (measured). Must be set before torch is loaded.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:2] == ["__complete"]:  # at every TAB: no time for Typer
        from llmkit.cli.complete import main as complete

        sys.exit(complete(sys.argv[2:]))
    from llmkit.cli.app import run

    if os.environ.get("WORLD_SIZE", "1") != "1":  # one of several processes of a run
        from llmkit.cli.launched import deliver, sign_in

        code = deliver(run(sys.argv[1:])) if sign_in() else 0
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        # Threads of gloo may be left, and now and then abort a process that ends in the usual way, all being done.
        os._exit(code)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
