from collections import Counter

import numpy as np
import pytest

from llmkit.errors import InputRefused
from llmkit.training.objectives.given import make_objective
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.span_corruption import hidden_counts, noise_mask, text_length, with_sentinels

SENTINELS = np.arange(50, 60)


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


def undo(source, target, sentinels=SENTINELS):
    """The text that source and target were made of."""
    holes, content = {}, []
    for i in target:
        if i in sentinels:
            content = holes.setdefault(int(i), [])
        else:
            content.append(int(i))
    return [t for i in source for t in (holes[int(i)] if i in sentinels else [int(i)])]


def runs(mask):
    """(first value, lengths of runs) of a mask."""
    edges = np.flatnonzero(np.diff(mask)) + 1
    return bool(mask[0]), np.diff([0, *edges, len(mask)]).tolist()


def test_the_example_of_the_paper():
    words = ["Thank", "you", "for", "inviting", "me", "to", "your", "party", "last", "week"]
    text = np.arange(len(words))
    hidden = np.array([w in ("for", "inviting", "last") for w in words])
    source, target = with_sentinels(text, hidden, np.array([100, 101, 102]))
    shown = [words[i] if i < 100 else "<XYZ>"[i - 99] for i in source]
    assert " ".join(shown) == "Thank you X me to your party Y week"
    assert " ".join(words[i] if i < 100 else "<XYZ>"[i - 99] for i in target) == "X for inviting Y last Z"


def test_as_much_text_as_fills_an_example():
    # T5's own configuration: compute_input_and_target_lengths gives 568 tokens of text for inputs of 512 with their
    # end token, and targets of 114 with theirs. One sentinel more closes them here.
    length = text_length(511, 0.15, 3.0, holes=99, answer=512)
    hidden, holes = hidden_counts(length, 0.15, 3.0, 99)
    assert (length, length - hidden + holes, hidden + holes) == (568, 511, 113)


def test_more_holes_than_sentinels_make_the_text_shorter():
    length = text_length(4000, 0.15, 3.0, holes=99, answer=4000)
    assert hidden_counts(length, 0.15, 3.0, 10**6)[1] == 99
    assert hidden_counts(length + 1, 0.15, 3.0, 10**6)[1] == 100


@pytest.mark.parametrize(("rate", "mean"), [(0.5, 1.0), (0.7, 3.0), (0.9, 4.0)])
def test_an_answer_is_no_longer_than_what_the_model_reads(rate, mean):
    length = text_length(126, rate, mean, holes=99, answer=127)
    hidden, holes = hidden_counts(length, rate, mean, 99)
    assert 100 < hidden + holes + 1 <= 127
    assert length - hidden + holes <= 126


@pytest.mark.parametrize("length", [2, 3, 5, 20, 57, 568])
@pytest.mark.parametrize(("rate", "mean"), [(0.15, 3.0), (0.5, 1.0), (0.9, 4.0)])
def test_tokens_and_runs_that_are_hidden_follow_from_the_length_alone(length, rate, mean):
    hidden = min(max(round(length * rate), 1), length - 1)
    holes = min(max(round(hidden / mean), 1), length - hidden)
    for rng in rngs(5):
        mask = noise_mask(length, rate, mean, rng, most=10**6)
        first, lengths = runs(mask)
        assert not first, "the text begins with what is shown"
        assert len(lengths) == 2 * holes, "and ends with a hole"
        assert (len(mask), int(mask.sum())) == (length, hidden)


def test_all_ways_to_cut_are_equally_likely():
    drawn = Counter(tuple(runs(noise_mask(8, 0.5, 2.0, rng, most=9))[1]) for rng in rngs(9000))
    assert len(drawn) == 9, "3 ways to cut 4 hidden tokens in two, times 3 for 4 shown ones"
    assert all(900 < n < 1100 for n in drawn.values())


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_source_and_target_together_are_the_text(make_given, rate):
    objective = make_objective(make_given("span_corruption", objective={"mask_rate": rate}))
    for picks in (objective.picks(0, 30), objective.held_out()[-1]):
        for e in objective.examples(picks, rngs(len(picks.index))):
            assert undo(e.source, e.target) == e.text.tolist()
            n = int(np.isin(e.source, SENTINELS).sum())
            assert e.target[np.isin(e.target, SENTINELS)].tolist() == list(range(50, 51 + n)), "in order, and one more"
            assert [m is Mark.HIDDEN for m in e.marks] == np.isin(e.source, SENTINELS).tolist()


def test_batches_hold_no_padding(make_given):
    objective = make_objective(make_given("span_corruption", seq_len=24))
    batch = objective.collate(objective.picks(0, 8), rngs(8))
    assert batch.attention_mask is None
    assert batch.input_ids.shape == (8, 24)
    assert batch.counts["token"] == 8 * (batch.counts["token"] // 8), "all targets are equally long"
    assert (batch.input_ids[:, -1] == 1).all(), "each source ends with the end token"


def test_an_epoch_covers_the_text_once_and_begins_elsewhere_the_next_time(make_given):
    given = make_given("span_corruption")
    objective = make_objective(given)
    firsts = []
    for epoch in range(5):
        texts = [
            e.text
            for e in objective.examples(
                objective.picks(epoch * objective.n_examples, objective.n_examples), rngs(objective.n_examples)
            )
        ]
        assert all(len(t) == objective.length for t in texts)
        whole = np.array(given.text.ids)
        found = sorted(next(i for i in range(len(whole)) if (whole[i : i + len(t)] == t).all()) for t in texts)
        firsts.append(tuple(t.tolist() for t in texts[:1]))
        assert len(found) == objective.n_examples
    assert len(set(map(str, firsts))) > 1
    validation = sum(
        len(e.text) for picks in objective.held_out() for e in objective.examples(picks, rngs(len(picks.index)))
    )
    assert validation >= len(given.validation.ids) - 1


def test_text_shorter_than_an_example_is_refused(make_given, make_corpus):
    with pytest.raises(InputRefused, match=r"3 tokens, fewer than one example needs \(2\d\)"):
        make_objective(make_given("span_corruption", text=make_corpus([[[10, 11, 12]]])))


def test_a_hole_is_restored_when_all_of_its_content_is_right_and_in_its_place(make_given):
    objective = make_objective(make_given("span_corruption", objective={"mask_rate": 0.25}))
    example = objective.examples(objective.picks(0, 1), rngs(1))[0]
    assert [i for i in example.target if i >= 50] == [50, 51, 52]
    truth = example.target.tolist()
    second = truth.index(51)
    swapped = [51, *truth[1:second], 50, *truth[second + 1 :]]
    shorter = [*truth[: second - 1], *truth[second:]]
    given_up = truth[:second]
    for said, right in [(truth, 2), (truth[:-1], 2), (swapped, 0), (shorter, 1), (given_up, 1), ([], 0), ([7, 7], 0)]:
        hits, holes = objective.judge([example], [said])["spans_restored"]
        assert (float(hits), holes) == (right, 2), said


def test_long_examples_come_last_and_are_the_ones_that_scores_are_of(make_given):
    given = make_given("span_corruption", objective={"long_share": 0.25}, seq_len=16, batch_size=8, steps=12)
    objective = make_objective(given)
    widths = []
    for step in range(12):
        picks = objective.picks(8 * step, 8)
        widths.append(tuple(objective.collate(picks, rngs(len(picks.index))).input_ids.shape))
    assert widths == [(8, 16)] * 9 + [(2, 64)] * 3
    picks = objective.held_out()[0]
    assert objective.collate(picks, rngs(len(picks.index))).input_ids.shape[1] == 64
