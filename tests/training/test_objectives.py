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
from llmkit.training.objectives.masked import Masked, mask
from llmkit.training.objectives.staged import Staged
from llmkit.training.objectives.windows import Text


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


# masked


def test_the_mask_rule_is_fifteen_percent_of_which_eighty_ten_ten(mask_tokens):
    before = rng().integers(5, 50, (400, 100))
    ids = before.copy()
    positions, targets = mask(ids, np.ones_like(ids, dtype=bool), 0.15, mask_tokens, rngs(len(ids), 1))
    assert len(positions) == 400 * 15
    assert (targets == before.reshape(-1)[positions]).all()
    now = ids.reshape(-1)[positions]
    masked, kept = now == mask_tokens.mask, now == targets
    assert masked.mean() == pytest.approx(0.8, abs=0.02)
    assert kept.mean() == pytest.approx(0.1 + 0.1 / 45, abs=0.02)  # a random token may be the old one
    others = np.delete(ids.reshape(-1), positions)
    assert (others == np.delete(before.reshape(-1), positions)).all()
    assert now.min() >= 4


def test_special_tokens_and_padding_are_never_chosen(mask_tokens):
    ids = rng().integers(5, 50, (50, 20))
    is_text = rng(1).random((50, 20)) < 0.5
    positions, _ = mask(ids, is_text, 0.5, mask_tokens, rngs(len(ids), 2))
    assert is_text.reshape(-1)[positions].all()
    empty, _ = mask(ids, np.zeros_like(is_text), 0.5, mask_tokens, rngs(len(ids), 2))
    assert len(empty) == 0


def originals(batch):
    ids, real = batch.input_ids.clone().flatten(), batch.targets >= 0
    ids[batch.positions[real]] = batch.targets[real]
    return ids.view_as(batch.input_ids)


def test_pairs_are_framed_as_bert_reads_them_and_half_of_them_do_not_follow(masked, mask_tokens):
    objective = masked()
    random = 0
    n = 40 * objective.n_examples
    batch = made(objective, objective.picks(0, n))
    rows = zip(originals(batch).tolist(), batch.token_type_ids.tolist(), batch.pair_labels, strict=True)
    for ids, types, label in rows:
        assert ids[0] == mask_tokens.cls
        ends = [i for i, token in enumerate(ids) if token == mask_tokens.sep]
        assert len(ends) == 2
        a, b = ids[1 : ends[0]], ids[ends[0] + 1 : ends[1]]
        assert a
        assert b
        assert set(ids[ends[1] + 1 :]) <= {mask_tokens.pad}
        assert types == [0] * (ends[0] + 1) + [1] * (len(b) + 1) + [0] * (len(ids) - ends[1] - 1)
        # Every token of a document is the document's number.
        assert (set(a) != set(b)) == bool(label)
        random += int(label)
    assert 0.4 < random / n < 0.65  # a sentence of one token has no second half, so a little more than half
    assert (batch.attention_mask == (originals(batch) != mask_tokens.pad)).all()


def test_the_same_example_is_corrupted_anew_each_time_but_the_same_for_the_same_seed(masked):
    objective = masked()
    picks = objective.picks(0, 4)
    first, second, third = (made(objective, picks, s) for s in (1, 1, 2))
    assert torch.equal(first.input_ids, second.input_ids)
    assert first.input_ids.shape != third.input_ids.shape or not torch.equal(first.input_ids, third.input_ids)


def test_full_sentences_cross_documents_and_leave_little_padding(documents, mask_tokens):
    objective = Masked(documents, mask_tokens, seq_len=32, batch_size=4, seed=0, next_sentence=False)
    assert objective.train.lengths.sum() == len(documents.ids)
    assert objective.train.lengths.mean() > 0.8 * 30
    batch = made(objective, objective.picks(0, 4))
    assert batch.pair_labels is None
    assert batch.counts.keys() == {"masked"}


@pytest.mark.parametrize("next_sentence", [True, False])
def test_every_token_of_the_text_is_in_exactly_one_window(next_sentence, documents, mask_tokens):
    long = Text(np.arange(5, 205), np.array([0, 3, 150, 160, 200]), np.array([0, 2, 4]))
    for text in (documents, long):
        windows = Masked(text, mask_tokens, seq_len=20, batch_size=2, seed=0, next_sentence=next_sentence).train
        tokens = np.concatenate([windows.whole(i) for i in range(len(windows.lengths))])
        assert (tokens == text.ids).all()
        assert windows.lengths.max() <= 20


def test_pairs_of_one_document_are_refused(mask_tokens):
    with pytest.raises(InputRefused, match="at least two documents"):
        Masked(Text(np.arange(9), np.array([0, 9]), np.array([0, 1])), mask_tokens, seq_len=16, batch_size=1, seed=0)


def test_the_masked_loss_is_that_of_all_logits_at_the_masked_places(masked, tiny_model):
    objective, model = masked(), tiny_model(causal=False).eval()
    batch = made(objective, objective.picks(0, 4))
    found = objective.loss(model, batch)
    hidden = model.encode(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    labels = torch.full((batch.input_ids.numel(),), -100)
    labels[batch.positions] = batch.targets
    everything = torch.nn.functional.cross_entropy(model.head(hidden).flatten(0, 1), labels)
    pairs = torch.nn.functional.cross_entropy(model.pair_head(hidden), batch.pair_labels)
    torch.testing.assert_close(found.total, everything + pairs)


def test_masked_validation_is_the_same_each_time(masked, documents, tiny_model):
    objective, model = masked(validation=documents), tiny_model(causal=False).eval()
    first = evaluate(objective, model)
    assert first == evaluate(objective, model)
    assert set(first) == {"loss", "masked_loss", "perplexity", "masked_accuracy", "next_sentence_accuracy"}
    assert evaluate(objective, model, poll=lambda: True) is None


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


def test_the_last_steps_take_longer_examples_of_as_many_tokens(masked):
    short, long = masked(seq_len=24, batch_size=8), masked(seq_len=48, batch_size=4)
    staged = Staged(short, long, switch=80, batch_size=8, later_batch_size=4)
    assert staged.n_examples == short.n_examples
    before, after = staged.picks(72, 8), staged.picks(80, 8)
    assert (before.index == short.picks(72, 8).index).all()
    assert (after.index == long.picks(0, 4).index).all()
    assert (staged.picks(88, 8).index == long.picks(4, 4).index).all()
    assert made(staged, before).input_ids.shape[1] <= 24
    assert made(staged, after).n_examples == 4
    assert (made(staged, after).input_ids == made(long, long.picks(0, 4)).input_ids).all()


def test_validation_is_on_examples_as_long_as_those_of_the_last_steps(masked, documents, tiny_model):
    short, long = (masked(seq_len=n, batch_size=b, validation=documents) for n, b in ((12, 8), (48, 2)))
    model = tiny_model(causal=False).eval()
    staged = Staged(short, long, switch=80, batch_size=8, later_batch_size=2)
    assert evaluate(staged, model) == evaluate(long, model)
    assert evaluate(staged, model) != evaluate(short, model)
