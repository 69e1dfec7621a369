"""What the model says along the way: a continuation from a decoder, a filled hole from an encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.training.seeds import Purpose, generator

if TYPE_CHECKING:
    from llmkit.data.corpus import TokenCorpus

CONTINUATION_TOKENS = 48
# An encoder without its position limit in mind could be handed a whole novel as one "sentence".
MOST_CONTEXT = 60


def continuation(tokenizer: Tokenizer) -> Callable[[Any, str, int], str]:
    """A function (model, prompt, step) -> the text the model writes after the prompt."""
    from llmkit.generation.text import generate_text

    def continue_text(model: Any, prompt: str, step: int) -> str:
        pieces = generate_text(
            model, tokenizer, prompt, max_tokens=CONTINUATION_TOKENS, temperature=0.8, top_k=50, seed=step
        )
        return "".join(pieces)

    return continue_text


def filled_mask(
    tokenizer: Tokenizer, prompt: str | None, corpus: TokenCorpus, seed: int
) -> Callable[[Any, int], tuple[str, str] | None]:
    """A function (model, step) -> (sentence with a hole, the model's first guesses).

    The sentence is `prompt` if it has a mask token in it, else a sentence of `corpus` with a random token hidden, cut
    to what the model can read. A longer prompt gives no sample.
    """
    mask_token = tokenizer.token(tokenizer.mask_id) if tokenizer.mask_id is not None else "[MASK]"

    def choose(step: int, room: int) -> tuple[list[int], int, str] | None:
        if prompt and mask_token in prompt:
            ids = tokenizer.encode(prompt)
            return (ids, ids.index(tokenizer.mask_id), "") if tokenizer.mask_id in ids and len(ids) <= room else None
        rng = generator(seed, Purpose.SAMPLE, step)
        sentence = corpus.sentence(int(rng.integers(corpus.n_sentences)))[: min(MOST_CONTEXT, room)]
        ids = [int(i) for i in sentence]
        at = int(rng.integers(len(ids)))
        truth, ids[at] = ids[at], int(tokenizer.mask_id or 0)
        return ids, at, tokenizer.decode([truth]).strip()

    def fill(model: Any, step: int) -> tuple[str, str] | None:
        chosen = choose(step, model.config.max_seq_len - 2)
        if chosen is None:
            return None
        ids, at, truth = chosen
        device = next(model.parameters()).device
        framed = [i for i in (tokenizer.cls_id, *ids, tokenizer.sep_id) if i is not None]
        hidden = model.encode(torch.tensor([framed], device=device))
        found = model.head(hidden[0, at + 1]).float().softmax(-1).topk(3)
        guesses = [
            f"{tokenizer.decode([int(i)]).strip()} {100 * float(p):.0f}%"
            for p, i in zip(found.values, found.indices, strict=True)
        ]
        told = f" (it was: {truth})" if truth else ""
        # Words are joined as the tokenizer joins them, and the hole is shown as it is written.
        shown = f"{tokenizer.decode(ids[:at])} {mask_token} {tokenizer.decode(ids[at + 1 :])}"
        return prompt if prompt and mask_token in prompt else shown.strip(), ", ".join(guesses) + told

    return fill
