"""Shared by all tests."""

import contextlib
import os
import signal
import tempfile

import pytest


def pytest_configure() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        # A worker for every core: threads of their own would only wait for each other. Set before torch is imported.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    # What is measured of a machine while tests run beside each other is not to be remembered for its user.
    os.environ["XDG_CACHE_HOME"] = os.path.join(tempfile.gettempdir(), f"llmkit-tests-{os.getuid()}")
    # Under nohup HUP is ignored, in a background job INT is, and children inherit that: the tests of what signals do
    # would then test nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGHUP", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture
def small_disk():
    """`with small_disk(n):` no file can grow beyond n bytes, as on a disk that is full by then."""
    resource = pytest.importorskip("resource")

    @contextlib.contextmanager
    def limit(n):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
