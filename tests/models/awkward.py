"""Tiny Hugging Face configurations with uncomfortable settings: `cases/<family>.py`, one file per family.

CASES there: name -> (class to build, arguments of its config) or (class, arguments, options). Options of a case:
    seq: length of its texts, 13 unless said (beyond a window, beyond the buckets of a relative position, ...)
    extra: called with (generator, batch); what it returns is added to the arguments both models get
    real: called with the batch; which of the scores count, where there are not as many as tokens
    idle: pattern of names of parameters that cannot reach the scores
    paddings: sides that padding may be on, ("right", "left") unless the family cannot be padded so
The class is a name in transformers, or, where transformers has no such model, a class with the same methods.
Further names a file may define:
    MOVING: cases whose rotary frequencies change while the text grows
    their_maps(output, batch): attention maps of the oracle, {site: [map of each layer]}, where it returns them oddly
    mend(model): puts right what the oracle gets wrong only where it shows its attention
    COMPUTED: ends of names of tensors that the oracle calls missing although it computes them
    VOCAB: number of ids used, 53 unless said
"""

import importlib.util
from pathlib import Path


def _load(path):
    spec = importlib.util.spec_from_file_location(f"cases_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {path.stem: _load(path) for path in sorted((Path(__file__).parent / "cases").glob("*.py"))}
CASES = {name: module.CASES for name, module in MODULES.items()}


def options(name, case):
    """The options of a case, defaults filled in."""
    given = CASES[name][case][2] if len(CASES[name][case]) > 2 else {}
    return {"seq": 13, "extra": None, "real": None, "idle": "", "paddings": ("right", "left")} | given


def vocab(name):
    return getattr(MODULES[name], "VOCAB", 53)


def is_moving(name, case):
    return case in getattr(MODULES[name], "MOVING", ())


def is_grouped(name, case):
    """Whether some query heads share a key, but not all of them the same."""
    from llmkit.models.registry import load_family

    settings = CASES[name][case][1]
    keys = load_family(name).keys
    groups = settings.get(keys["n_kv_heads"].theirs, 1) if "n_kv_heads" in keys else 1
    return isinstance(groups, int) and 1 < groups < settings[keys["n_heads"].theirs]
