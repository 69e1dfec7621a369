"""Configurations nobody wrote down: settings of awkward cases crossed at random, held against the oracle.

Each trial takes a case of tests/models/cases, gives it some settings of another case of the family, other sizes and
another length of text, and asks what the tests ask: logits unpadded and padded on both sides, the way back into
transformers, the config's round trip, and, for decoders, piecewise decoding on a cache. What transformers itself cannot
build or run is no trial; what llmkit refuses by name is counted apart.
"""

from __future__ import annotations

import importlib.util
import random
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import llmkit
from llmkit.errors import LlmkitError
from llmkit.models.registry import family_names, load_family

MODELS = Path(__file__).parent.parent / "models"
_ACTIVATIONS = ("relu", "gelu", "gelu_new", "silu", "tanh", "quick_gelu")


class Trial:
    """One configuration of one family, under a name in the tests' table of cases."""

    def __init__(self, tests: ModuleType, family: str, seed: int) -> None:
        draw = random.Random(f"{family} {seed}")
        cases: dict[str, Any] = {k: v for k, v in tests.awkward.CASES[family].items() if not k.startswith("hunt ")}
        base, other = (draw.choice(sorted(cases)) for _ in range(2))
        chosen, arguments, *more = cases[base]
        options = dict(more[0]) if more else {}
        settings = dict(arguments)
        for key, value in cases[other][1].items():
            if settings.get(key) != value and draw.random() < 0.4:
                settings[key] = value
        self._resize(load_family(family).keys, settings, draw)
        if "extra" not in options and draw.random() < 0.5:
            options["seq"] = draw.choice((6, 9, 17, 26))
        self.family, self.case = family, f"hunt {seed}"
        self.told = f"{family} #{seed}: {base} x {other}, seq {options.get('seq', 13)}"
        tests.awkward.CASES[family][self.case] = (chosen, settings, options)

    @staticmethod
    def _resize(keys: Any, settings: dict[str, Any], draw: random.Random) -> None:
        def put(ours: str, value: object) -> None:
            name = next((n for n in (keys[ours].theirs, *keys[ours].also) if n in settings), keys[ours].theirs)
            settings[name] = value

        if draw.random() < 0.5 and "n_kv_heads" not in keys:
            heads, width = draw.choice((1, 2, 3, 5)), draw.choice((4, 6, 8))
            put("n_heads", heads)
            put("d_model", heads * width)
        if "d_ff" in keys and draw.random() < 0.5:
            put("d_ff", draw.choice((17, 31, 40)))
        if "n_layers" in keys and draw.random() < 0.5:
            put("n_layers", draw.choice((1, 2, 3)))
        if "activation" in keys and draw.random() < 0.5:
            put("activation", draw.choice(_ACTIVATIONS))
        if "tie_embeddings" in keys and draw.random() < 0.3:
            put("tie_embeddings", draw.random() < 0.5)


def hunt(names: Sequence[str], trials: int, seed: int, say: Callable[[str], None] = print) -> Counter[str]:
    """Run `trials` configurations of each family; returns how many were found equal, refused, impossible or bad."""
    tests = load_tests("conftest")
    parity, cached = load_tests("test_parity"), load_tests("test_cached_decoding")
    total: Counter[str] = Counter()
    for family in names or family_names():
        counts: Counter[str] = Counter()
        for number in range(trials):
            trial = Trial(tests, family, seed * 100_000 + number)
            counts[_run(trial, tests, parity, cached, say)] += 1
            tests.make_pair.cache_clear()
        say(f"{family}: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
        total += counts
    return total


def _run(trial: Trial, tests: ModuleType, parity: ModuleType, cached: ModuleType, say: Callable[[str], None]) -> str:
    import torch

    oracle = tests._Oracle()
    key = (trial.family, trial.case)
    sides = (None, *tests.awkward.options(*key)["paddings"])
    try:
        pair = tests.make_pair(*key)
    except Exception as error:
        if isinstance(error, LlmkitError):
            say(f"{trial.told}: refused: {error.message}")
            return "refused"
        if _is_ours(error):
            say(f"{trial.told}: {_short(error)}")
            return "bad"
        return "impossible"
    with torch.no_grad():
        for side in sides:
            try:
                outcome = pair.scores(pair.theirs(**pair.batch(side)))
                tests.tolerance(pair, pair.batch(side))
            except Exception:
                return "impossible"
            if not outcome.isfinite().all():
                return "impossible"
    checks: list[Callable[[], None]] = [
        *(lambda side=side: parity.test_logits_equal_the_oracle((*key, side), oracle) for side in sides),  # type: ignore[misc]
        lambda: parity.test_config_survives_the_round_trip(pair),
    ]
    if pair.kind == "decoder" and _remembers_all(pair):
        padding = "left" if "left" in sides else None
        steps = cached.test_chunked_prefill_and_steps_equal_the_full_pass
        checks.append(lambda: steps(pair, padding, oracle) if pair.seq >= sum(cached.CHUNKS) else None)
    for check in checks:
        try:
            check()
        except Exception as error:
            say(f"{trial.told}: {_short(error)} {tests.awkward.CASES[trial.family][trial.case][1]}")
            return "bad"
    with tempfile.TemporaryDirectory() as folder:
        try:
            parity.test_what_we_save_opens_in_transformers_with_the_same_logits(pair, Path(folder), oracle)
        except Exception as error:
            say(f"{trial.told}: saved: {_short(error)} {tests.awkward.CASES[trial.family][trial.case][1]}")
            return "bad"
    return "equal"


def _remembers_all(pair: Any) -> bool:
    """Whether piecewise decoding should equal the full pass: rotary frequencies stay as they are while the text grows,
    and a memory of segments, if there is one, is as long as the text."""
    moves = getattr(pair.ours.rotary, "changes_with_length", False)
    return not moves and getattr(pair.ours.config, "mem_len", pair.seq) >= pair.seq


def _is_ours(error: BaseException) -> bool:
    package = str(Path(llmkit.__file__).parent)
    return any(frame.filename.startswith(package) for frame in traceback.extract_tb(error.__traceback__))


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]


def load_tests(name: str) -> ModuleType:
    """One of the files in tests/models as a module; they are no package, so that pytest can collect them apart."""
    spec = importlib.util.spec_from_file_location(f"hunt_{name}", MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
