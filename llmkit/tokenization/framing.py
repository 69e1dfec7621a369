"""Texts and pairs of texts as a model for whole texts reads them: `[CLS] text [SEP]`, `[CLS] a [SEP] b [SEP]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokenizers import processors

if TYPE_CHECKING:
    from llmkit.tokenization.tokenizer import Tokenizer


@dataclass(frozen=True)
class Framed:
    """ids: with special tokens; segment_start: where the second text begins, or None; was_cut: it did not fit."""

    ids: list[int]
    segment_start: int | None = None
    was_cut: bool = False


def close_texts(tokenizer: Tokenizer) -> None:
    """Let the tokenizer's own template put its end token behind every text, as T5's does; one with a template stays.

    A model of two stacks reads its inputs so. Without a template every program would have to know.
    """
    if tokenizer.backend.post_processor is None and "eos" in tokenizer.roles and tokenizer.eos_id is not None:
        end = tokenizer.roles["eos"]
        tokenizer.backend.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, tokenizer.eos_id)]
        )


def framed(tokenizer: Tokenizer, a: Sequence[int], b: Sequence[int] | None, room: int) -> Framed:
    """Token ids `a`, or `a` and `b`, in at most `room` tokens with the special ones that the tokenizer has.

    What does not fit is cut at the end, of a pair from the longer side first.
    """
    before = [i for i in (tokenizer.cls_id,) if i is not None]
    after = [i for i in (tokenizer.sep_id,) if i is not None]
    free = room - len(before) - len(after) * (1 if b is None else 2)
    over = len(a) + len(b or ()) - max(1, free)
    if over > 0:
        from_b = 0
        if b is not None:
            lead = len(b) - len(a)
            from_b = min(len(b), max(0, min(over, lead)) + max(0, over - abs(lead)) // 2)
            b = b[: len(b) - from_b]
        a = a[: len(a) - (over - from_b)]
    first = [*before, *a, *after]
    if b is None:
        # A text without a single token still needs something to look at.
        return Framed(first or [tokenizer.eos_id or 0], None, over > 0)
    return Framed([*first, *b, *after], len(first), over > 0)
