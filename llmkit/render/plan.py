"""The plan of a training run as lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmkit.render.safe_text import safe_line
from llmkit.units import count, size


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """Lines for `Plan.as_json()`."""
    have = f" of {size(plan['memory_available'])} free" if plan["memory_available"] is not None else ""
    passes = f", {plan['epochs']:.2g} passes over the data" if plan["epochs"] is not None else ""
    facts = [
        ("run", f"{safe_line(plan['run'])}, {plan['model']} on {plan['device']}"),
        ("parameters", f"{plan['parameters']:,} ({plan['embedding_parameters']:,} of them token vectors)"),
        ("vocabulary", f"up to {plan['vocab_size']:,} tokens"),
        ("steps", f"{plan['steps']:,} of {plan['tokens_per_step']:,} tokens: {count(plan['tokens'])} tokens{passes}"),
        ("work", f"{plan['flops']:.2e} floating-point operations (6 x parameters x tokens)"),
        ("memory", f"about {size(plan['memory_total'])}{have}"),
        ("  weights", size(plan["memory_weights"])),
        ("  gradients", size(plan["memory_gradients"])),
        ("  optimizer", size(plan["memory_optimizer"])),
        ("  activations", f"about {size(plan['memory_activations'])}"),
        ("disk", f"{size(plan['disk_total'])} at most, {size(plan['disk_checkpoint'])} a checkpoint"),
        ("", f"{size(plan['disk_free'])} free"),
        (
            "time",
            f"about {duration(plan['total_seconds'])}, {1000 * plan['step_seconds']:.0f} ms a step, without validation",
        ),
    ]
    return [f"{name:<14}{text}" for name, text in facts]


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.5 h or 20 days."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"
