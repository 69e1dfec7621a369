import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from llmkit.errors import InputRefused
from llmkit.tokenization.framing import Framed
from llmkit.training.evaluation import evaluate
from llmkit.training.objectives.causal import Causal
from llmkit.training.objectives.classify import Classify, Labelled


def rng(seed=0):
    return np.random.default_rng(seed)


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


def made(objective, picks, seed=0):
    """The batch of these picks, with draws of their own."""
    return objective.collate(picks, rngs(len(picks.index), seed))


# causal


def test_causal_targets_are_the_input_one_token_later():
    batch = made(objective := Causal(np.arange(100), seq_len=8, seed=0), objective.picks(0, 4))
    assert torch.equal(batch.targets, batch.input_ids + 1)
    assert batch.counts == {"token": 32}


@pytest.mark.parametrize("n", [9, 12, 17, 100, 101, 1000])
def test_causal_blocks_of_an_epoch_do_not_overlap_and_begin_elsewhere_in_the_next(n):
    objective = Causal(np.arange(n), seq_len=8, seed=0)
    starts = []
    for epoch in range(6):
        batch = made(objective, objective.picks(epoch * objective.n_examples, objective.n_examples))
        first = sorted(batch.input_ids[:, 0].tolist())
        assert all(b - a == 8 for a, b in pairwise(first))
        assert batch.targets.max() <= n - 1
        starts.append(first[0])
    assert n in (9, 17) or len(set(starts)) > 1


def test_text_shorter_than_an_example_is_refused():
    with pytest.raises(InputRefused, match="8 tokens, fewer than one example needs"):
        Causal(np.arange(8), seq_len=8, seed=0)


def test_causal_validation_covers_the_whole_text_once_and_counts_bits_per_byte(tiny_model):
    validation = rng().integers(0, 50, 77)
    objective = Causal(np.arange(50), seq_len=8, seed=0, validation=validation, validation_bytes=154)
    model = tiny_model().eval()
    scores = evaluate(objective, model)
    nats = 0.0
    for start in range(0, 76, 8):
        block = torch.tensor(validation[start : start + 9])[None]
        logits = model.head(model.encode(block[:, :-1])).log_softmax(-1).detach()
        nats -= float(logits[0].gather(1, block[0, 1:, None]).sum())
    assert scores["loss"] == pytest.approx(nats / 76, rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(nats / 76), rel=1e-4)
    assert scores["bits_per_byte"] == pytest.approx(nats / 76 / math.log(2) / 2, rel=1e-5)


# classify


class Classifier(torch.nn.Module):
    """Says the label that the first token names."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(9.0))

    def forward(self, ids, mask, types):
        from types import SimpleNamespace

        return SimpleNamespace(logits=self.scale * torch.nn.functional.one_hot(ids[:, 0], 3))


def labelled(n=40, longest=20):
    draw = rng()
    texts = [Framed([i % 3] + [9] * int(draw.integers(1, longest)), None if i % 2 else 1) for i in range(n)]
    return Labelled(texts, np.arange(n) % 3)


def test_labels_stay_with_their_texts_whatever_the_batch():
    data = labelled()
    objective = Classify(data, data, n_labels=3, pad_id=0, batch_size=4, seed=0)
    for first in range(0, 80, 4):
        batch = made(objective, objective.picks(first, 4))
        assert torch.equal(batch.input_ids[:, 0], batch.labels)
    scores = evaluate(objective, Classifier())
    assert scores["accuracy"] == scores["macro_f1"] == 1.0
    counts = objective.confusion(Classifier(), data)
    assert counts.tolist() == [[14, 0, 0], [0, 13, 0], [0, 0, 13]]


def test_batches_of_texts_hold_little_padding():
    objective = Classify(labelled(640, longest=60), None, n_labels=3, pad_id=0, batch_size=8, seed=0)
    batches = [made(objective, objective.picks(at, 8)) for at in range(0, 640, 8)]
    assert sum(b.n_tokens for b in batches) > 0.85 * sum(b.input_ids.numel() for b in batches)


def test_batches_come_in_few_shapes_and_never_wider_than_the_longest_text():
    objective = Classify(labelled(640, longest=60), None, n_labels=3, pad_id=0, batch_size=8, seed=0)
    widths = {made(objective, objective.picks(at, 8)).input_ids.shape[1] for at in range(0, 640, 8)}
    assert len(widths) <= 8
    assert max(widths) == objective.longest
