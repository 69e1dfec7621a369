"""Width, depth and heads of a model of any family with an asked number of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from llmkit.errors import UsageError
from llmkit.models.family import Family, Kind
from llmkit.recipe.parameters import Counts, count_parameters
from llmkit.recipe.size import likely_vocab_size

MOST_OFF = 0.09  # the logarithm of how far the number may be missed
RATIO = 64  # d_model / n_layers
NARROW = 256  # below it heads are 32 wide
# More of the parameters than this are not spent on token vectors: the vocabulary is halved first.
MOST_TABLES = 0.6
FEWEST_TOKENS = 1024
# Lists that must match the sizes: with other sizes the family's own rule makes them anew.
LISTS = ("block_sizes", "block_repeats", "layers", "axial_widths")
SIZED = ("model.d_model", "model.n_layers", "model.n_heads")


def choose_shape(
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
        new["init_std"] = digits(old["init_std"] * math.sqrt(was["d_model"] / width), 2)
    for name in LISTS:
        if name in stated:
            new[name] = ()
    if isinstance(old.get("attention_window"), (tuple, list)) and "attention_window" in stated:
        new["attention_window"] = min(old["attention_window"])
    return new


def _vocab_size(values: Mapping[str, Any]) -> int:
    return likely_vocab_size(values.get("tokenizer.algorithm"), values.get("tokenizer.vocab_size"))


def digits(x: float, n: int) -> float:
    """`x` to `n` significant digits."""
    return float(f"{x:.{n}g}")
