"""Shared by all tests."""

import signal


def pytest_configure() -> None:
    # Under nohup, or in a job without a terminal, HUP is ignored, and children inherit that: the tests of what a
    # closed terminal does would then test nothing.
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
