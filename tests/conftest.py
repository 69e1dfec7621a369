"""Shared by all tests."""

import signal


def pytest_configure() -> None:
    # Under nohup HUP is ignored, in a background job INT is, and children inherit that: the tests of what signals do
    # would then test nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
