"""Throughput of encoding and decoding, beside splitting the same text at spaces in plain Python."""

from __future__ import annotations

from collections.abc import Iterator

from llmkit.measurement.memory import peak_bytes
from llmkit.measurement.result import Plan, Result, rated
from llmkit.measurement.samples import texts, tokenizer_for
from llmkit.measurement.timing import interleaved

_BYTES = 1_000_000
_VOCAB = 4096
LIMIT = "str.split"


def measure(plan: Plan) -> Iterator[Result]:
    """MB of text per second. The limit looks at every character once and makes one object per word."""
    tokenizer = tokenizer_for(plan, _VOCAB)
    documents = texts(_BYTES)
    n_bytes = sum(len(t.encode()) for t in documents)
    # Documents together make blocks of about 64 KiB, as the streaming command does; one by one they cost more.
    blocks = _blocks(documents, 65_536)
    ids = [i for row in tokenizer.encode_batch(blocks) for i in row]
    text = "\n".join(documents)

    def encode() -> None:
        tokenizer.encode_batch(blocks)

    def decode() -> None:
        tokenizer.decode(ids)

    def split() -> None:
        text.split()

    cases = {"encode": encode, "decode": decode, "split": split}
    times = interleaved(cases, trials=plan.trials, budget=plan.budget)
    limit = n_bytes / 1e6 / times["split"].best
    for name in ("encode", "decode"):
        detail = {"bytes_per_token": n_bytes / len(ids), "vocab_size": float(tokenizer.vocab_size)}
        yield rated(
            "tokenize", name, "MB", n_bytes / 1e6, times[name], limit=limit, limit_name=LIMIT,
            peak_bytes=peak_bytes(cases[name]), detail=detail,
        )  # fmt: skip


def _blocks(documents: list[str], size: int) -> list[str]:
    blocks, held, length = [], [], 0
    for text in documents:
        held.append(text)
        length += len(text) + 1
        if length >= size:
            blocks.append("\n".join(held))
            held, length = [], 0
    return [*blocks, "\n".join(held)] if held else blocks
