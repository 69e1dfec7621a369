"""What can be measured, by name; each module is imported only when its turn comes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from llmkit.errors import UsageError
from llmkit.measurement.result import Plan, Result
from llmkit.suggest import did_you_mean

WHAT = ("tokenize", "train-bpe", "train", "generate", "load")


def measure(what: str, plan: Plan) -> Iterator[Result]:
    """Results of one WHAT, as they become known. Raises UsageError for a name that is none."""
    if what not in WHAT:
        raise UsageError(f"nothing to measure is called {what!r}", did_you_mean(what, WHAT) or ", ".join(WHAT))
    module = import_module(f"llmkit.measurement.{what.replace('-', '_')}")
    yield from module.measure(plan)
