"""The plan of a training run as lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmkit.render.safe_text import safe_line
from llmkit.units import count, size

# Tokens for each parameter that make the most of the arithmetic (Hoffmann et al. 2022, arXiv:2203.15556).
ENOUGH = 20
# Passes over a text that still teach almost as much as new text (Muennighoff et al. 2023, arXiv:2305.16264).
MOST_PASSES = 4


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """Lines for `Plan.as_json()`."""
    p = plan
    shape = f"{p['d_model']:,} wide, {p['n_layers']} layers, {p['n_heads']} heads, vocabulary {p['vocab_size']:,}"
    active = f", {count(p['active_parameters'])} at work on a token" if p["active_parameters"] < p["parameters"] else ""
    tables = f" ({p['embedding_parameters'] / p['parameters']:.0%} token vectors{active})"
    facts = [
        ("run", f"{safe_line(p['run'])}, {p['model']} on {p['device']}"),
        ("model", shape),
        ("parameters", f"{p['parameters']:,}{tables}"),
        ("steps", f"{p['steps']:,} of {p['tokens_per_step']:,} tokens ({_batch(p)}), rate up to {p['lr']:g}"),
        ("tokens", f"{count(p['tokens'])}, {_per_parameter(p['tokens_per_parameter'])}"),
        *_passes(p["epochs"]),
        ("work", f"{p['flops']:.2g} floating-point operations{_usual(p['flops'], p['flops_6nd'])}"),
        *_memory(p),
        ("disk", f"{size(p['disk_total'])} at most, {size(p['disk_checkpoint'])} a checkpoint; "
                 f"{size(p['disk_free'])} free"),
        ("time", f"about {duration(p['total_seconds'])}, {milliseconds(p['step_seconds'])} a step, without validation"),
    ]  # fmt: skip
    return [f"{name:<14}{text}" for name, text in facts]


def _batch(p: Mapping[str, Any]) -> str:
    passes = f"{p['accumulate']} x " if p["accumulate"] > 1 else ""
    return f"{passes}{p['batch_size']} x {p['seq_len']}"


def _per_parameter(share: float) -> str:
    said = f"{share:.2g}" if share < 99.5 else f"{share:,.0f}"
    return f"{said} per parameter" + (f"; {ENOUGH} make the most of the work" if not 0.5 < share / ENOUGH < 10 else "")


def _passes(epochs: float | None) -> list[tuple[str, str]]:
    if epochs is None:
        return []
    much = f"; more than {MOST_PASSES} teach little" if epochs > 1.5 * MOST_PASSES else ""
    return [("data", f"{epochs:.2g} passes{much}")]


def _usual(flops: float, usual: float) -> str:
    """How far the rule of thumb is from what was counted, if it is."""
    return f"; 6 x parameters x tokens is {usual:.2g}" if not 0.9 < flops / max(1.0, usual) < 1.1 else ""


def _memory(p: Mapping[str, Any]) -> list[tuple[str, str]]:
    have = p["memory_available"]
    of = f" of {size(have)} free ({p['memory_total'] / max(1, have):.0%})" if have is not None else ""
    parts = [(part, p[f"memory_{part}"]) for part in ("weights", "gradients", "optimizer", "activations", "other")]
    return [
        ("memory", f"about {size(p['memory_total'])}{of}"),
        *((f"  {part}", size(n)) for part, n in parts if n),
    ]


def milliseconds(seconds: float) -> str:
    """440 ms or 12 s."""
    return f"{1000 * seconds:.0f} ms" if seconds < 2 else f"{seconds:.2g} s" if seconds < 99.5 else f"{seconds:.0f} s"


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.5 h or 20 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"
