"""Text and models to measure with: built in, seeded, the same on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.data.stories import stories
from llmkit.measurement.result import Plan, Shape

if TYPE_CHECKING:
    from llmkit.models.two_towers import AnyModel
    from llmkit.tokenization.tokenizer import Tokenizer

SEED = 20_240_601


def texts(n_bytes: int, *, start: int = 0) -> list[str]:
    """Stories of about `n_bytes` in all, one document each."""
    found, size, index = [], 0, start
    while size < n_bytes:
        [one] = stories(1, SEED, start=index)
        found.append(one.text)
        size += len(one.text) + 1
        index += 1
    return found


def tokenizer_for(plan: Plan, vocab_size: int) -> Tokenizer:
    """The tokenizer of the model to be measured, else a byte-level BPE learned from the stories on the spot."""
    from llmkit.tokenization.tokenizer import FILE, Tokenizer
    from llmkit.tokenization.train import train

    if plan.model is not None and (plan.model / FILE).is_file():
        return Tokenizer.from_file(plan.model)
    return train(texts(300_000, start=10**6), algorithm="bpe", vocab_size=vocab_size)


def model_for(plan: Plan) -> AnyModel:
    """The model named in the plan, else a random one of the plan's shape, on the plan's device."""
    if plan.model is not None:
        from llmkit.checkpoint.hf_layout import read_model

        return read_model(plan.model, device=plan.device)
    return random_model(plan.shape).to(plan.device)


def random_model(shape: Shape) -> AnyModel:
    """A GPT-2 of this shape with fresh weights. torch's global generator is left as it was."""
    import torch

    from llmkit.models.registry import load_family

    family = load_family("gpt2")
    config = family.config_class(
        vocab_size=shape.vocab,
        d_model=shape.width,
        n_layers=shape.layers,
        n_heads=shape.heads,
        max_seq_len=shape.context,
        head="causal_lm",
        dropout=0.0,
        attention_dropout=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return family.build(config).eval()


def describe(plan: Plan, model: AnyModel) -> str:
    """`6 x 384, 14.0 M parameters` for the title of a result."""
    from llmkit.models.registry import family_of
    from llmkit.units import count

    c = model.config
    total = sum(p.numel() for p in model.parameters())
    return f"{family_of(c).title} {c.n_layers}x{c.d_model}, {count(total)} parameters"
