"""docs/zoo.md, written from the registry and from the configurations that prove it: python -m tests.zoo table."""

from __future__ import annotations

import importlib.util
from collections import Counter
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

from llmkit.errors import InputRefused
from llmkit.models.family import Family, Kind
from llmkit.models.hf_config import HfConfig
from llmkit.models.registry import family_names, load_family

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "docs" / "zoo.md"
_ORDER = (Kind.DECODER, Kind.ENCODER, Kind.ENCODER_DECODER)
# Keys that say what the file is, not what the model computes.
_NOT_SETTINGS = {"architectures", "id2label", "num_labels", "quantization_config", "pruned_heads"}
_HEAD = """\
# The zoo

Every architecture that llmkit builds, loads, looks into and saves. This page is written from the families themselves by
`python -m tests.zoo table`; a test compares them.

Proof: for each family, that many configurations chosen to be awkward are built at random by `transformers` (or, where
it says so, by a reference of our own), with weights spread to a standard deviation of 0.3, saved, and loaded
here. Logits must agree within 1e-5 (relative where they are larger than one; where the oracle's own float32 and float64
differ by more, within three times that), attention maps within 2e-5, cached decoding must equal the full pass, what we
save must open there with the same logits, and about twenty kinds of mutations must be seen to break it:
`pytest tests/models -k NAME`.
"""


def text() -> str:
    """The whole document."""
    families = sorted(map(load_family, family_names()), key=lambda f: (_ORDER.index(f.kind), f.title.casefold()))
    cases = _cases()
    lines = [_HEAD, "| system | model_type | kind | learns by | positions | paper | configurations proven |"]
    lines.append("|---|---|---|---|---|---|---|")
    for f in families:
        name = f"`{f.model_type or f.name}`"
        proven = _proof(cases[f.name])
        lines.append(f"| {f.title} | {name} | {f.kind.value} | {f.objective} | {f.positions} | {f.paper} | {proven} |")
    lines += ["", "## Heads and settings", ""]
    lines += ["A setting that is not listed reaches no computation, here or in `transformers`.", ""]
    for f in families:
        read, refused = _read_keys(f)
        refused -= _NOT_SETTINGS
        kept = {key.theirs for key in f.keys.values() if key.kept}
        chosen = {key.theirs for key in f.keys.values()} - kept  # some are refused with one value of several
        honoured = sorted((read - refused - _NOT_SETTINGS | chosen) - kept)
        heads = ", ".join(f"{ours} (`{theirs}`)" for ours, theirs in f.heads.items())
        lines += [f"### {f.title}", "", f"{f.peculiar[0].upper()}{f.peculiar[1:]}.", ""]
        lines += [f"- Heads: {heads}.", f"- Honoured: {_code(honoured)}."]
        lines += [f"- Kept for transformers, nothing here computes with it: {_code(sorted(kept))}."] if kept else []
        lines += [f"- Refused unless harmless: {_code(sorted(refused - chosen))}."] if refused - chosen else []
        lines.append("")
    return "\n".join(lines)


def write() -> None:
    """Bring docs/zoo.md up to date."""
    FILE.write_text(text(), encoding="utf-8")


def _proof(cases: dict[str, tuple[object, ...]]) -> str:
    oracles = Counter("transformers" if _is_theirs(case[0]) else "own reference" for case in cases.values())
    return ", ".join(f"{n} ({oracle})" if oracle != "transformers" else str(n) for oracle, n in oracles.items())


def _is_theirs(oracle: object) -> bool:
    """Whether the oracle is a class of transformers, by its name or made from one."""
    return isinstance(oracle, str) or any(c.__module__.startswith("transformers") for c in type.mro(oracle))  # type: ignore[arg-type]


def _code(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _cases() -> dict[str, dict[str, tuple[object, ...]]]:
    path = ROOT / "tests" / "models" / "awkward.py"
    spec = importlib.util.spec_from_file_location("awkward", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.CASES)


class _Spy(dict):  # type: ignore[type-arg]
    """A config.json that remembers what it was asked."""

    def __init__(self, **stored: object) -> None:
        super().__init__(stored)
        self.asked: set[str] = set()

    def get(self, key: str, default: object = None) -> object:
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> object:
        self.asked.add(key)
        return super().__getitem__(key)


def _read_keys(family: Family) -> tuple[set[str], set[str]]:
    """Every key of config.json that the family looks at, whatever the head, under the name it writes; and those of
    which it refuses all but a harmless value."""
    asked: set[str] = set()
    refused: set[str] = set()
    refuse = HfConfig.refuse

    def noted(self: HfConfig, name: str, *harmless: object, because: str) -> None:
        refused.add(name)
        refuse(self, name, *harmless, because=because)

    others = {name for key in family.keys.values() for name in (*key.also, *key.fallback)}
    for their_class in family.heads.values():
        spy = _Spy(architectures=[their_class], vocab_size=100, eos_token_id=2)
        # Refused: a head that silence does not suit; what it looked at counts.
        with suppress(InputRefused), patch.object(HfConfig, "refuse", noted):
            family.config_from_hf(spy)
        asked |= spy.asked
    return (asked | {"pad_token_id", "bos_token_id", "eos_token_id"}) - others, refused
