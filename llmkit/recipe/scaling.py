"""One dial, `--size`: width, depth, heads, learning rate, batch and tokens of any family, from a number of parameters.

What each comes from:
- tokens: 20 for each parameter that works on a token (Hoffmann et al. 2022, arXiv:2203.15556, "Chinchilla").
- shape: width / depth = 64, as in GPT-2 small and BERT-base; heads are 64 wide. Between 32 and 128 the shape hardly
  matters (Kaplan et al. 2020, arXiv:2001.08361), so the depth that hits the number wins.
- learning rate and batch: power laws in the compute C = 6 N D, 0.3118 C^-0.125 and 0.2920 C^0.3271 tokens (DeepSeek
  LLM, Bi et al. 2024, arXiv:2401.02954). A batch fixed by hand moves the rate by its square root (Malladi et al. 2022,
  arXiv:2205.10287). Muon's updates have the size of AdamW's (Liu et al. 2025, arXiv:2502.16982), so it shares the rate.
- families with norms after the residual sum take half the rate: what BERT, RoBERTa and ELECTRA published lies between
  a quarter and all of what the law says for their compute. They warm up longer, too (RoBERTa: 6 % of the steps).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmkit.errors import UsageError
from llmkit.models.family import Family, Kind
from llmkit.models.registry import load_family
from llmkit.recipe.parameters import Counts, count_parameters
from llmkit.suggest import nearest

# Turc et al. 2019 (arXiv:1908.08962) call 29 M and 110 M small and base; mini is what two cores train overnight.
SIZES = {"mini": 3_000_000, "small": 30_000_000, "base": 110_000_000}
SMALLEST, LARGEST = 50_000, 10**12
TOKENS_PER_PARAMETER = 20
MOST_OFF = 0.09  # the logarithm of how far the number may be missed
RATIO = 64  # d_model / n_layers
NARROW = 256  # below it heads are 32 wide
MICRO_TOKENS = 2**14  # of one forward pass, until --auto-batch says what fits
# Four passes over a text teach almost as much as new text does (Muennighoff et al. 2023, arXiv:2305.16264).
MOST_PASSES, TOKENS_PER_STORY, MOST_STORIES = 4, 110, 2_000_000
# More of the parameters than this are not spent on token vectors: the vocabulary is halved first.
MOST_TABLES = 0.6
FEWEST_TOKENS = 1024
# Lists that must match the sizes: with other sizes the family's own rule makes them anew.
LISTS = ("block_sizes", "block_repeats", "layers", "axial_widths")
SIZED = ("model.d_model", "model.n_layers", "model.n_heads")


@dataclass(frozen=True)
class Scaled:
    """What the dial sets, by dotted key, and what for: parameters in all and at work on a token, and tokens."""

    values: Mapping[str, Any]
    counts: Counts
    tokens: int


def parse_size(text: str) -> int:
    """`mini`, `30M`, `1.5B` or `125000000` as a number of parameters. Raises UsageError."""
    word = text.strip().lower()
    if word in SIZES:
        return SIZES[word]
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmbgt]?)", word.replace("_", ""))
    if not found or len(word) > 40:
        near = nearest(word, SIZES)
        named = ", ".join(f"{name} ({n / 1e6:.0f}M)" for name, n in SIZES.items())
        hint = f"did you mean {near[0]}?" if near else f"write {named}, or parameters such as 30M or 1.5B"
        raise UsageError(f"--size {text[:40]!r} is no size", hint)
    n = round(float(found[1]) * {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}[found[2]])
    if not SMALLEST <= n <= LARGEST:
        raise UsageError(f"--size {text[:40]} is out of range", "sizes go from 50K to 1T parameters")
    return n


def scale(target: int, values: Mapping[str, Any], *, given: Collection[str], fixed: Collection[str]) -> Scaled:
    """The settings of a model with about `target` parameters, and of its training.

    values: the recipe's, checked, by dotted key, with model.family. given: keys the recipe states, whose proportions
    are kept. fixed: keys that a flag set; they stay, and the rest is chosen around them.
    Raises UsageError when no legal model comes near.
    """
    family = load_family(values["model.family"])
    shape, counts = _shape(family, target, values, given, fixed)
    return Scaled({**shape, **_training(family, counts, values, shape, fixed)}, counts, _tokens(counts))


def _tokens(counts: Counts) -> int:
    return TOKENS_PER_PARAMETER * counts.active


def _shape(
    family: Family, target: int, values: Mapping[str, Any], given: Collection[str], fixed: Collection[str]
) -> tuple[dict[str, Any], Counts]:
    """The model section, and the vocabulary if it must shrink."""
    vocab_size = _vocab_size(values)
    is_free = values.get("tokenizer.algorithm") != "char" and not (
        {"tokenizer.vocab_size"} & set(fixed) or values.get("tokenizer.path")
    )
    best: tuple[dict[str, Any], Counts] | None = None
    while True:
        found = _fit(family, target, vocab_size, values, given, fixed)
        if found is not None:
            fields, counts, is_odd = found
            best = ({f"model.{name}": value for name, value in fields.items()}, counts)
            if vocab_size != _vocab_size(values):
                best[0]["tokenizer.vocab_size"] = vocab_size
            if not is_odd and counts.tables <= MOST_TABLES * counts.total:
                break
        if not is_free or vocab_size // 2 < FEWEST_TOKENS:
            break
        vocab_size //= 2
    pinned = sorted(set(fixed) & set(SIZED))
    if best is None:
        fix = f"leave out {' and '.join(pinned)}, or choose another --size" if pinned else "choose another --size"
        raise UsageError(f"there is no {family.name} of about {target:,} parameters with these settings", fix)
    if not pinned and abs(best[1].total / target - 1) > 0.1:
        raise UsageError(
            f"there is no {family.name} of about {target:,} parameters; the nearest has {best[1].total:,}",
            f"write --size {best[1].total}",
        )
    return best


def _fit(
    family: Family,
    target: int,
    vocab_size: int,
    values: Mapping[str, Any],
    given: Collection[str],
    fixed: Collection[str],
) -> tuple[dict[str, Any], Counts, bool] | None:
    """Of all widths, the one whose model is nearest to the target and the usual shape; True if that is an odd one."""
    best: tuple[float, dict[str, Any], Counts, bool] | None = None
    for width, heads in _widths(family, target, values, fixed):

        def sized(n_layers: int, width: int = width, heads: int = heads) -> dict[str, Any]:
            return _fields(family, width, n_layers, heads, values, given, fixed)

        for n_layers in _depths(family, target, width, lambda n: _count(family, sized(n), vocab_size), values, fixed):
            counts = _count(family, sized(n_layers), vocab_size)
            if counts is None:
                continue
            off, odd = math.log(counts.total / target), math.log2(width / n_layers / RATIO)
            cost = odd**2 * (family.sizing.layers is None) + (off / 0.04) ** 2 + (1e6 if abs(off) > MOST_OFF else 0)
            cost += 4 if n_layers == 1 else 0
            cost += 4 * _lost_share(sized(n_layers), values, given)
            if best is None or cost < best[0]:
                best = (cost, sized(n_layers), counts, odd < -1.7 or n_layers == 1)
    return best and best[1:]


def _lost_share(fields: Mapping[str, Any], values: Mapping[str, Any], given: Collection[str]) -> float:
    """How far the heads of keys and values are from the recipe's share of all heads, as seven heads have no half."""
    if not {"model.n_kv_heads", "model.n_heads"} <= set(given) or not fields.get("n_kv_heads"):
        return 0.0
    share = values["model.n_kv_heads"] / values["model.n_heads"]
    return abs(math.log(fields["n_kv_heads"] / fields["n_heads"] / share)) if share else 0.0


def _widths(
    family: Family, target: int, values: Mapping[str, Any], fixed: Collection[str]
) -> Iterator[tuple[int, int]]:
    """(d_model, n_heads) to try, up to what a single layer of the target's size could have."""
    ratio = values.get("model.head_ratio", getattr(family.config_class, "head_ratio", 1))
    pinned = values.get("model.d_model") if "model.d_model" in fixed else None
    heads = values.get("model.n_heads") if "model.n_heads" in fixed else None
    if pinned is not None:
        width = min((w for w in (64 * ratio, 32 * ratio) if pinned % w == 0), default=pinned)
        wide = 64 * ratio if pinned >= NARROW and pinned % (64 * ratio) == 0 else width
        yield pinned, heads or max(1, pinned // wide)
        return
    widest = 2 * math.isqrt(target) + 64
    width = 32 * ratio
    while width <= min(widest, 65536):
        head = (64 if width >= NARROW else 32) * ratio
        if width % head == 0 and (heads is None or width % heads == 0):
            yield width, heads or width // head
        width += head if width < 4096 else 4 * head


def _depths(
    family: Family,
    target: int,
    width: int,
    count: Callable[[int], Counts | None],
    values: Mapping[str, Any],
    fixed: Collection[str],
) -> Iterator[int]:
    """Depths near the one with which a model of this width has the target's parameters: they grow evenly with it."""
    if "model.n_layers" in fixed:
        yield values["model.n_layers"]
        return
    if family.sizing.layers is not None:
        yield max(values.get("model.n_groups", 1), 2, min(family.sizing.layers, round(width / RATIO)))
        return
    step = family.sizing.layer_step
    one, two = count(step), count(2 * step)
    if one is None or two is None:
        return
    n = step * (1 + (target - one.total) / max(1, two.total - one.total))
    for near in {math.floor(n / step), math.ceil(n / step)}:
        if 1 <= near * step <= 1024:
            yield near * step


def _count(family: Family, fields: Mapping[str, Any], vocab_size: int) -> Counts | None:
    try:
        return count_parameters(family, family.config_class(**fields, vocab_size=vocab_size))
    except (UsageError, TypeError):
        return None


def _fields(
    family: Family,
    width: int,
    n_layers: int,
    n_heads: int,
    values: Mapping[str, Any],
    given: Collection[str],
    fixed: Collection[str],
) -> dict[str, Any]:
    """All fields of the model section but the family, with the recipe's proportions at the new width and depth."""
    old = {p.removeprefix("model."): v for p, v in values.items() if p.startswith("model.") and p != "model.family"}
    stated = {p.removeprefix("model.") for p in given if p.startswith("model.")} - {
        p.removeprefix("model.") for p in fixed
    }
    new = dict(old) | {"d_model": width, "n_layers": n_layers, "n_heads": n_heads}
    was = {name: old.get(name) if name in stated else None for name in ("d_model", "n_layers", "n_heads")}

    def keep(name: str, by: str, now: int, round_to: int) -> None:
        """Keep name / by as the recipe has it; without such a proportion the family's rule decides."""
        if name not in stated or not old.get(name):
            return
        share = old[name] / was[by] if was.get(by) else 0
        new[name] = max(round_to, round(share * now / round_to) * round_to) if share else 0

    if "head_dim" in stated:
        new["head_dim"] = 0
    keep("d_ff", "d_model", width, 32)
    keep("d_decoder_ff", "d_model", width, 32)
    if family.sizing.layers is None:
        keep("d_embed", "d_model", width, 32)
    if family.kind is Kind.ENCODER_DECODER:
        keep("n_decoder_layers", "n_layers", n_layers, family.sizing.layer_step)
        keep("n_decoder_heads", "n_heads", n_heads, n_heads)
    if "n_kv_heads" in stated and old.get("n_kv_heads"):
        share = old["n_kv_heads"] / was["n_heads"] if was["n_heads"] else 1
        legal = [n for n in range(1, n_heads + 1) if n_heads % n == 0]
        new["n_kv_heads"] = min(legal, key=lambda n: abs(n - share * n_heads))
    if "init_std" in stated and was["d_model"]:
        # The narrower, the larger: the sum over the width stays what it was.
        new["init_std"] = _digits(old["init_std"] * math.sqrt(was["d_model"] / width), 2)
    for name in LISTS:
        if name in stated:
            new[name] = ()
    if isinstance(old.get("attention_window"), (tuple, list)) and "attention_window" in stated:
        new["attention_window"] = min(old["attention_window"])
    return new


def _training(
    family: Family, counts: Counts, values: Mapping[str, Any], shape: Mapping[str, Any], fixed: Collection[str]
) -> dict[str, Any]:
    """The train section, and how many stories to write if the text is those."""
    n, seq_len = counts.active, _seq_len(values)
    steps = values["train.steps"] if "train.steps" in fixed else None
    pinned = {k: values[f"train.{k}"] for k in ("batch_size", "accumulate") if f"train.{k}" in fixed}
    tokens = float(_tokens(counts))
    if steps is not None:  # D = steps x B and B = 0.292 (6 N D)^0.3271 together
        in_all = pinned["batch_size"] * pinned["accumulate"] * seq_len if len(pinned) == 2 else 0
        batch = in_all or (0.2920 * (6.0 * n * steps) ** 0.3271) ** (1 / (1 - 0.3271))
        tokens = steps * batch
    compute = 6.0 * n * tokens
    usual = 0.2920 * compute**0.3271
    examples = _round_batch(usual / seq_len)
    batch_size, accumulate = _split(examples, seq_len, pinned)
    in_step = batch_size * accumulate * seq_len
    steps = steps or max(1, round(_digits(tokens / in_step, 3)))
    after = family.sizing.norm_after
    rate = 0.3118 * compute**-0.125 * math.sqrt(in_step / usual) * (0.5 if after else 1)
    warmup = min(2000, max(10, steps * (6 if after else 2) // 100), steps)
    found: dict[str, Any] = {
        "train.steps": steps,
        "train.batch_size": batch_size,
        "train.accumulate": accumulate,
        "train.lr": _digits(rate, 2),
        "train.warmup_steps": warmup,
    }
    if values.get("data.train") == "stories":
        enough = math.ceil(_digits(steps * in_step / MOST_PASSES / TOKENS_PER_STORY, 2))
        found["data.stories"] = min(MOST_STORIES, max(values["data.stories"], enough))
    return {path: value for path, value in found.items() if path not in fixed}


def _split(examples: int, seq_len: int, pinned: Mapping[str, int]) -> tuple[int, int]:
    """Examples of a step as (batch_size, accumulate), with no more tokens in one pass than a small machine takes."""
    if "batch_size" in pinned:
        return pinned["batch_size"], pinned.get("accumulate") or max(1, round(examples / pinned["batch_size"]))
    if "accumulate" in pinned:
        return max(1, round(examples / pinned["accumulate"])), pinned["accumulate"]
    most = max(1, MICRO_TOKENS // seq_len)
    batch_size = next(n for n in range(min(most, examples), 0, -1) if examples % n == 0)
    return batch_size, examples // batch_size


def _round_batch(examples: float) -> int:
    """The nearest of 8, 12, 16, 24, 32, 48, ...: numbers that divide well."""
    sizes = [m * 2**k for k in range(3, 25) for m in (1.0, 1.5)]
    return int(min(sizes, key=lambda n: abs(math.log(n / max(examples, 1e-9)))))


def _seq_len(values: Mapping[str, Any]) -> int:
    longest = values.get("model.max_seq_len")
    return int(min(values["train.seq_len"], longest) if longest else values["train.seq_len"])


def _vocab_size(values: Mapping[str, Any]) -> int:
    from llmkit.recipe.size import likely_vocab_size

    return likely_vocab_size(values.get("tokenizer.algorithm"), values.get("tokenizer.vocab_size"))


def _digits(x: float, n: int) -> float:
    """`x` to `n` significant digits."""
    return float(f"{x:.{n}g}")
