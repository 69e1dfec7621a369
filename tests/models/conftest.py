"""The oracle: tiny random Hugging Face models, saved to disk and loaded through our rules.

Weights are re-drawn with standard deviation 0.3: at the usual 0.02, a model without rotary positions would pass.
"""

from __future__ import annotations

import importlib.util
import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("awkward", Path(__file__).with_name("awkward.py"))
awkward = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(awkward)

from llmkit.models.registry import family_names, load_family  # noqa: E402

SPREAD = 0.3
BATCH, SEQ = 3, 13


@dataclass
class Pair:
    """A Hugging Face model and ours, made from the same directory."""

    theirs: object
    ours: object
    family: object
    raw: dict
    tensors: dict
    seed: int

    @property
    def rules(self):
        return self.family.weight_rules(self.ours.config)

    @property
    def is_decoder(self):
        return self.family.kind.value == "decoder"

    def batch(self, padding=None):
        """Arguments that both models take: ids, and segments where the family has them, padded on one side or not."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        ids = torch.randint(1, awkward.VOCAB, (BATCH, SEQ), generator=generator)
        batch = {"input_ids": ids}
        segments = self.raw.get("type_vocab_size")
        if segments:
            batch["token_type_ids"] = torch.randint(0, segments, ids.shape, generator=generator)
        if padding:
            lengths = torch.tensor([SEQ, SEQ - 5, 2])[:, None]
            place = torch.arange(SEQ)[None]
            real = place < lengths if padding == "right" else place >= SEQ - lengths
            batch["attention_mask"] = real.long()
            batch["input_ids"] = ids * real
            if self.is_decoder:
                batch["position_ids"] = (real.long().cumsum(-1) - 1).clamp(min=0)
        return batch

    def real(self, batch):
        import torch

        return batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()


def scores(output):
    """The main scores of a Hugging Face output."""
    for name in ("prediction_logits", "logits", "last_hidden_state"):
        if name in output:
            return output[name]
    raise AssertionError(f"no scores among {list(output)}")


def compare(pair, batch, theirs, ours):
    """Largest difference where it counts: real tokens, or every row of a classifier."""
    difference = (theirs - ours).abs()
    return difference[pair.real(batch)].max() if difference.dim() == 3 else difference.max()


def tolerance(pair, batch, least=1e-5):
    """1e-5; where the oracle itself differs by more between float32 and float64, three times that difference."""
    import copy

    import torch

    with torch.no_grad():
        exact = scores(copy.deepcopy(pair.theirs).double()(**batch))
        own = compare(pair, batch, exact, scores(pair.theirs(**batch)).double())
    return max(least, 3 * own.item())


def spread(model, seed):
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Norm weights keep their usual mean: around zero, they would mute what the layers below say.
            mean = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * SPREAD + mean)


@cache
def make_pair(name: str, case: str, implementation: str = "sdpa") -> Pair:
    import tempfile

    import torch
    import transformers
    from safetensors.torch import load_file

    from llmkit.weights.convert import load_into

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    class_name, arguments = awkward.CASES[name][case]
    theirs_class = getattr(transformers, class_name)
    config = theirs_class.config_class(**arguments)
    seed = zlib.crc32(f"{name} {case}".encode())
    theirs = theirs_class(config)
    spread(theirs, seed)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        # Opened again, so that what is tied is tied; the oracle's own kernels are chosen by name.
        theirs = theirs_class.from_pretrained(folder, attn_implementation=implementation).eval()
        raw = json.loads((Path(folder) / "config.json").read_text())
        tensors = load_file(Path(folder) / "model.safetensors")
    family = load_family(raw["model_type"])
    ours = family.build(family.config_from_hf(raw)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(float("nan"))
    load_into(ours, family.weight_rules(ours.config), tensors)
    return Pair(theirs, ours, family, raw, tensors, seed)


def pytest_generate_tests(metafunc):
    """`case`: (family, case) of every family; `decoder_case`: those that generate; the others by their traits."""
    every = [(n, c) for n in family_names() for c in awkward.CASES.get(n, {})]
    decoders = [c for c in every if load_family(c[0]).kind.value == "decoder"]
    chosen = {
        "case": every,
        "decoder_case": decoders,
        "steady_case": [c for c in decoders if awkward.has("steady", *c)],
        "moving_case": [c for c in decoders if awkward.has("moving", *c)],
        "gated_case": [c for c in every if awkward.has("gated", *c)],
        "grouped_case": [c for c in every if awkward.has("grouped", *c)],
    }
    for name in chosen.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, chosen[name], ids=lambda c: "-".join(c))


@pytest.fixture
def pair(case):
    return make_pair(*case)


@pytest.fixture
def decoder(decoder_case):
    return make_pair(*decoder_case)


@pytest.fixture
def steady(steady_case):
    """A decoder whose rotary frequencies, if any, are the same for every text of the tests."""
    return make_pair(*steady_case)


@pytest.fixture
def moving(moving_case):
    """A decoder whose rotary frequencies change while the texts of the tests grow."""
    return make_pair(*moving_case)


@pytest.fixture
def gated(gated_case):
    return make_pair(*gated_case)


@pytest.fixture
def grouped(grouped_case):
    """A model in which some query heads share a key, but not all of them the same."""
    return make_pair(*grouped_case)


@pytest.fixture
def oracle():
    """The helpers of this file, for tests that need them by name."""
    return _Oracle()


class _Oracle:
    scores = staticmethod(scores)
    compare = staticmethod(compare)
    tolerance = staticmethod(tolerance)
    make_pair = staticmethod(make_pair)
    spread = staticmethod(spread)
    cases = awkward.CASES
    has = staticmethod(awkward.has)
