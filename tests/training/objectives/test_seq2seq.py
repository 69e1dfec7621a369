import dataclasses

import numpy as np
import pytest

from llmkit.training.objectives.bleu import bleu, bleu_counts
from llmkit.training.objectives.given import make_objective
from llmkit.training.objectives.objective import Picks

END = 1


def rngs(n):
    return [np.random.default_rng(i) for i in range(n)]


@pytest.fixture
def pairs(make_corpus):
    """Pairs (i, 2 i) of different lengths; with `ends`, both sides close with the end token, as corpora do."""

    def make(lengths, ends=False):
        close = [END] if ends else []
        texts = [[[10 + i] * n + close] for i, n in enumerate(lengths)]
        targets = [[[20 + i] * (2 * n) + close] for i, n in enumerate(lengths)]
        return dataclasses.replace(make_corpus(texts), target=make_corpus(targets))

    return make


@pytest.mark.parametrize("ends", [False, True])
def test_both_sides_are_cut_to_their_room_and_what_was_cut_is_counted(ends, pairs, make_given):
    given = make_given("seq2seq", text=pairs([3, 6, 7, 20, 11], ends), validation=pairs([2], ends), seq_len=12)
    objective = make_objective(given)
    # 11 tokens and the end token on each side: targets of 12, 14, 40 and 22 tokens and a source of 20 are too long.
    assert objective.remarks == ["5 of 10 sides of pairs are longer than train.seq_len and were cut"]
    picks = Picks(np.zeros(5, dtype=np.int64), np.arange(5), np.arange(5))
    found = {int(e.source[0]): e for e in objective.examples(picks, rngs(5))}
    assert {i: (len(e.source), len(e.target)) for i, e in found.items()} == {
        10: (3, 6), 11: (6, 11), 12: (7, 11), 13: (11, 11), 14: (11, 11)
    }  # fmt: skip
    batch = objective.collate(picks, rngs(5))
    assert batch.input_ids.shape[1] <= 12
    assert batch.decoder_input_ids.shape[1] <= 12
    ends_of_rows = batch.input_ids.gather(1, batch.attention_mask.sum(1, keepdim=True) - 1)
    assert ends_of_rows.flatten().tolist() == [END] * 5
    assert int((batch.input_ids == END).sum()) == 5, "one end each"


def test_nothing_is_said_when_nothing_was_cut(pairs, make_given):
    objective = make_objective(make_given("seq2seq", text=pairs([3, 4]), validation=pairs([2]), seq_len=12))
    assert objective.remarks == []


def test_batches_hold_pairs_of_similar_length(pairs, make_given):
    lengths = np.random.default_rng(0).integers(1, 8, 400).tolist()
    objective = make_objective(make_given("seq2seq", text=pairs([min(n, 7) for n in lengths][:30] * 12), seq_len=24))
    padding = []
    for first in range(0, 256, 4):
        batch = objective.collate(objective.picks(first, 4), rngs(4))
        sources = [1.0] if batch.attention_mask is None else batch.attention_mask.sum(1).tolist()
        padding.append(max(sources) - min(sources))
    assert np.mean(padding) < 1.0


def test_bleu_by_hand():
    # Papineni et al. 2002, section 2.1: "the" seven times against "The cat is on the mat": clipped, 2 of 7 are right.
    the, cat, is_, on, mat = range(5)
    counts = bleu_counts([the] * 7, [the, cat, is_, on, the, mat])
    assert (counts[0], counts[4], counts[1]) == (2, 7, 0)
    assert bleu(counts) == 0.0
    truth = list(range(20))
    assert bleu(bleu_counts(truth, truth)) == pytest.approx(100.0)
    said = [*range(10), 99, *range(11, 20)]
    # 19 of 20 tokens; of n-grams, n that hold the wrong token are lost.
    expected = 100 * np.exp(np.mean(np.log([19 / 20, 17 / 19, 15 / 18, 13 / 17])))
    assert bleu(bleu_counts(said, truth)) == pytest.approx(expected)
    short = 100 * np.exp(1 - 20 / 15)
    assert bleu(bleu_counts(truth[:15], truth)) == pytest.approx(short), "too short"
    assert bleu(bleu_counts([*truth, *range(30, 50)], truth)) < 60, "too long is not precise"


def test_bleu_is_of_the_corpus_and_not_a_mean_of_sentences():
    a, b = bleu_counts([1, 2, 3, 4, 5], [1, 2, 3, 4, 5]), bleu_counts([6, 7], [6, 8])
    assert bleu(a) == 100.0
    assert bleu(b) == 0.0
    assert bleu(a + b) == pytest.approx(100 * np.exp(np.mean(np.log([6 / 7, 4 / 5, 3 / 3, 2 / 2]))))


def test_exact_answers_are_counted(make_given):
    objective = make_objective(make_given("seq2seq"))
    examples = objective.examples(objective.picks(0, 3), rngs(3))
    said = [examples[0].target.tolist(), examples[1].target.tolist()[:-1], [*examples[2].target.tolist(), 7]]
    hits, n = objective.judge(examples, said)["sentences_exact"]
    assert (float(hits), n) == (1.0, 3)
