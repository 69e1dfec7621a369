"""Learning a tokenizer, beside counting words in plain Python, and beside `tokenizers` called directly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from llmkit.measurement.memory import peak_bytes
from llmkit.measurement.result import Plan, Result, rated
from llmkit.measurement.samples import texts
from llmkit.measurement.timing import interleaved

_BYTES = 2_000_000
_VOCAB = 8192
LIMIT = "counting words"


def measure(plan: Plan) -> Iterator[Result]:
    """MB of text per second. The limit is what any trainer has to do first: count the words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from llmkit.tokenization.train import train

    documents = texts(_BYTES)
    n_bytes = sum(len(t.encode()) for t in documents)

    def ours() -> None:
        train(documents, algorithm="bpe", vocab_size=_VOCAB)

    def directly() -> None:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=_VOCAB, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
        tokenizer.train_from_iterator(documents, trainer)

    def count() -> None:
        words: Counter[str] = Counter()
        for text in documents:
            words.update(text.split())

    cases = {"ours": ours, "directly": directly, "count": count}
    times = interleaved(cases, trials=plan.trials, budget=plan.budget)
    ratio = times["directly"].median / times["ours"].median
    plan.notice(f"train-bpe: {ratio:.2f}x the speed of the tokenizers trainer called directly")
    yield rated(
        "train-bpe", f"{_VOCAB} tokens", "MB", n_bytes / 1e6, times["ours"],
        limit=n_bytes / 1e6 / times["count"].best, limit_name=LIMIT, peak_bytes=peak_bytes(ours),
        detail={"times_tokenizers": ratio},
    )  # fmt: skip
