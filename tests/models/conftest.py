"""The oracle: tiny random Hugging Face models, saved to disk and loaded through our rules.

Weights are re-drawn with standard deviation 0.3: at the usual 0.02, a model without rotary positions would pass.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("awkward", Path(__file__).with_name("awkward.py"))
awkward = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(awkward)
_spec = importlib.util.spec_from_file_location("repairs", Path(__file__).with_name("repairs.py"))
repairs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(repairs)

from llmkit.models.registry import family_names, load_family  # noqa: E402

SPREAD = 0.3
BATCH = 3
OUTPUT = 9  # tokens that the decoder of an encoder-decoder is given


@dataclass
class Pair:
    """A Hugging Face model and ours, made from the same directory."""

    name: str
    case: str
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
    def kind(self):
        """What the model at hand is: some heads of an encoder-decoder family use its encoder alone."""
        return "encoder-decoder" if hasattr(self.ours, "decoder") else "decoder" if self.is_decoder else "encoder"

    @property
    def is_decoder(self):
        return self.family.kind.value == "decoder"

    @property
    def options(self):
        return awkward.options(self.name, self.case)

    @property
    def seq(self):
        return self.options["seq"]

    def batch(self, padding=None):
        """Arguments that both models take: ids, and segments where the family has them, padded on one side or not."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        ids = torch.randint(1, awkward.vocab(self.name), (BATCH, self.seq), generator=generator)
        batch = {"input_ids": ids}
        accepted = inspect.signature(self.theirs.forward).parameters
        segments = self.raw.get("type_vocab_size")
        if segments and "token_type_ids" in accepted:
            batch["token_type_ids"] = torch.randint(0, segments, ids.shape, generator=generator)
        if self.kind == "encoder-decoder" and self.ours.starts is None:
            vocab = min(awkward.vocab(self.name), self.raw.get("decoder_vocab_size") or self.raw["vocab_size"])
            batch["decoder_input_ids"] = torch.randint(1, vocab, (BATCH, OUTPUT), generator=generator)
        if padding:
            lengths = torch.tensor([self.seq, self.seq - 5, 2])[:, None]
            place = torch.arange(self.seq)[None]
            real = place < lengths if padding == "right" else place >= self.seq - lengths
            batch["attention_mask"] = real.long()
            pad = self.ours.config.pad_id or 0
            batch["input_ids"] = torch.where(real, ids, pad)
            if self.is_decoder and "position_ids" in accepted:
                batch["position_ids"] = (real.long().cumsum(-1) - 1).clamp(min=0)
        if self.options["extra"]:
            batch |= self.options["extra"](generator, batch)
        return batch

    def real(self, batch):
        """(batch, seq) booleans: the tokens whose scores count."""
        import torch

        if self.options["real"]:
            return self.options["real"](batch)
        if self.kind == "encoder-decoder":
            ids = batch.get("decoder_input_ids", batch["input_ids"])
            return torch.ones_like(ids).bool()
        return batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()

    def scores(self, output):
        """The main scores of a Hugging Face output, in the shape of our logits."""
        import torch

        if "start_logits" in output:
            return torch.stack([output["start_logits"], output["end_logits"]], -1)
        if self.ours.config.head == "replaced_token":
            return output["logits"][..., None]
        for name in ("prediction_logits", "logits", "last_hidden_state"):
            if name in output:
                return output[name]
        raise AssertionError(f"no scores among {list(output)}")


def compare(pair, batch, theirs, ours):
    """Largest difference where it counts: real tokens, or every row of a classifier."""
    assert theirs.shape == ours.shape
    difference = (theirs - ours).abs()
    if difference.dim() == 3:
        difference = difference[pair.real(batch)]
    assert difference.isfinite().all()
    return difference.max()


def tolerance(pair, batch, least=1e-5):
    """1e-5 for scores of order one, as much less exact as they are larger; where the oracle itself differs by more
    between float32 and float64, three times that difference."""
    import copy

    import torch

    with torch.no_grad():
        rounded = pair.scores(pair.theirs(**batch)).double()
        exact = pair.scores(copy.deepcopy(pair.theirs).double()(**batch))
        # An oracle that masks with the least float64 and takes the softmax in float32 (BLOOM) sees infinity there.
        counted = exact[pair.real(batch)] if exact.dim() == 3 else exact
        exact = exact if counted.isfinite().all() else rounded
        own = compare(pair, batch, exact, rounded)
    return max(least * max(1.0, exact.abs().median().item()), 3 * own.item())


def spread(model, seed):
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:  # computed, such as sinusoidal positions
                continue
            # Norm weights keep their usual mean: around zero, they would mute what the layers below say.
            mean = 1.0 if parameter.dim() == 1 and name.endswith("weight") else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * SPREAD + mean)
        for name, buffer in model.named_buffers():
            if name.endswith("logits_bias"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * SPREAD)


def exact_experts(theirs):
    """Have experts computed one by one: the oracle's grouped products take no float64 and no odd widths."""
    if getattr(theirs, "_can_set_experts_implementation", bool)():  # an oracle of our own has no such method
        theirs.set_experts_implementation("eager")
    return theirs


@cache
def make_pair(name: str, case: str, implementation: str = "sdpa") -> Pair:
    import tempfile

    import torch
    import transformers
    from safetensors.torch import load_file

    from llmkit.weights.convert import load_into

    repairs.repair_prophetnet()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    chosen, arguments, *_ = awkward.CASES[name][case]
    theirs_class = getattr(transformers, chosen) if isinstance(chosen, str) else chosen
    config = theirs_class.config_class(**arguments)
    seed = zlib.crc32(f"{name} {case}".encode())
    theirs = theirs_class(config)
    spread(theirs, seed)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        # Opened again, so that what is tied is tied; the oracle's own kernels are chosen by name.
        try:
            theirs = theirs_class.from_pretrained(folder, attn_implementation=implementation).eval()
        except ValueError:  # it has only the kernel it was written with
            theirs = theirs_class.from_pretrained(folder).eval()
        exact_experts(theirs)
        getattr(awkward.MODULES[name], "mend", lambda model: None)(theirs)
        raw = json.loads((Path(folder) / "config.json").read_text())
        tensors = load_file(Path(folder) / "model.safetensors")
    family = load_family(raw["model_type"])
    ours = family.build(family.config_from_hf(raw)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(float("nan"))
    load_into(ours, family.weight_rules(ours.config), tensors)
    return Pair(name, case, theirs, ours, family, raw, tensors, seed)


def pytest_generate_tests(metafunc):
    """`case`: (family, case) of every family; `decoder_case`: those that generate; the others by their traits."""
    every = [(n, c) for n in family_names() for c in awkward.CASES.get(n, {})]
    decoders = [c for c in every if load_family(c[0]).kind.value == "decoder"]
    heads = {c: _head(*c) for c in every}
    two = [
        c for c in every if load_family(c[0]).kind.value == "encoder-decoder" and heads[c] in ("seq2seq", "backbone")
    ]
    chosen = {
        "case": every,
        "decoder_case": decoders,
        "steady_case": [c for c in decoders if not awkward.is_moving(*c)],
        "moving_case": [c for c in decoders if awkward.is_moving(*c)],
        "grouped_case": [c for c in every if awkward.is_grouped(*c)],
        "two_case": two,
        "padded_case": [(*c, side) for c in every for side in (None, *awkward.options(*c)["paddings"])],
    }
    for name in chosen.keys() & set(metafunc.fixturenames):
        metafunc.parametrize(name, chosen[name], ids=lambda c: "-".join(str(part) for part in c))


def _head(name, case):
    classes = {theirs: ours for ours, theirs in load_family(name).heads.items()}
    chosen = awkward.CASES[name][case][0]
    return classes[chosen if isinstance(chosen, str) else chosen.__name__]


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
def grouped(grouped_case):
    """A model in which some query heads share a key, but not all of them the same."""
    return make_pair(*grouped_case)


@pytest.fixture
def two(two_case):
    """An encoder-decoder."""
    return make_pair(*two_case)


@pytest.fixture
def oracle():
    """The helpers of this file, for tests that need them by name."""
    return _Oracle()


class _Oracle:
    compare = staticmethod(compare)
    tolerance = staticmethod(tolerance)
    make_pair = staticmethod(make_pair)
    spread = staticmethod(spread)
    exact_experts = staticmethod(exact_experts)
    cases = awkward.CASES
    modules = awkward.MODULES
    is_moving = staticmethod(awkward.is_moving)
    is_grouped = staticmethod(awkward.is_grouped)
