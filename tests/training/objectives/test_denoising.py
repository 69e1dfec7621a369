from itertools import pairwise

import numpy as np
import pytest

from llmkit.training.objectives.denoising import holds, text_infilling
from llmkit.training.objectives.given import make_objective
from llmkit.training.objectives.glimpse import Mark

MASK = 2


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


def filled(source, content):
    """The source with each mask replaced by the next of `content`."""
    content = iter(content)
    return [t for i in source for t in (next(content) if i == MASK else [int(i)])]


def hidden_runs(hidden, kept):
    """What each mask of the source stands for: the hidden places between its neighbours that are shown."""
    found, at = [], 0
    for place in kept.tolist():
        if place < 0:
            end = at
            while end < len(hidden) and hidden[end]:
                end += 1
            found.append(list(range(at, end)))
            at = end
        else:
            at = place + 1
    return found


@pytest.mark.parametrize("n", [1, 2, 7, 40, 300])
@pytest.mark.parametrize("rate", [0.15, 0.3, 0.9])
def test_a_text_with_holes_is_the_text_again_when_they_are_filled(n, rate):
    text = np.arange(10, 10 + n)
    for rng in rngs(40):
        source, hidden, kept = text_infilling(text, rate, 3.0, MASK, rng)
        assert int(hidden.sum()) == min(max(round(n * rate), 1), n), "the share, to the token"
        assert len(source) <= n, "no text grows"
        assert filled(source, [text[run] for run in hidden_runs(hidden, kept)]) == text.tolist()
        assert (source[kept >= 0] == text[kept[kept >= 0]]).all()
        if rate < 0.5 and n > 20:
            assert not any(a == b == MASK for a, b in pairwise(source.tolist())), "no two holes side by side"


def test_lengths_of_holes_are_those_of_poisson():
    lengths = []
    for rng in rngs(300):
        _, hidden, kept = text_infilling(np.arange(10, 410), 0.3, 3.0, MASK, rng)
        lengths += [len(run) for run in hidden_runs(hidden, kept)][:10]  # the last is cut, and lies anywhere
    share = np.bincount(lengths, minlength=8)[:8] / len(lengths)
    poisson = np.exp(-3.0) * 3.0 ** np.arange(8) / np.array([1, 1, 2, 6, 24, 120, 720, 5040])
    assert np.abs(share - poisson).max() < 0.02
    assert share[0] > 0.03, "some masks stand for nothing"


def test_holes_lie_anywhere():
    where = np.zeros(50)
    for rng in rngs(3000):
        where += text_infilling(np.arange(10, 60), 0.2, 3.0, MASK, rng)[1]
    assert where.min() > 0.7 * 600 * 0.5
    assert where[5:45].std() < 0.1 * where[5:45].mean()


def test_the_target_is_the_text_and_the_source_its_sentences_in_another_order_with_holes(make_given):
    objective = make_objective(make_given("denoising"))
    shuffled = 0
    for e in objective.examples(objective.picks(0, 60), rngs(60)):
        assert e.target.tolist() == e.text.tolist()
        sentences = [e.text[a:b].tolist() for a, b in pairwise(e.bounds.tolist())]
        shown = [e.text[a:b][~e.hidden[a:b]].tolist() for a, b in pairwise(e.bounds.tolist())]
        kept = [i for i in e.source.tolist() if i != MASK]
        assert sum(map(len, sentences)) == len(e.text)
        # What is left of the sentences, in some order, is what is shown.
        order = matched(kept, [s for s in shown if s])
        assert order is not None
        shuffled += order != sorted(order)
        assert all((m is Mark.HIDDEN) == (i == MASK) for i, m in zip(e.source.tolist(), e.marks, strict=True))
    assert shuffled > 20


def matched(text, parts, used=()):
    """An order in which `parts` are `text`, or None."""
    if not text and len(used) == len(parts):
        return list(used)
    for i, part in enumerate(parts):
        if i not in used and text[: len(part)] == part and (found := matched(text[len(part) :], parts, (*used, i))):
            return found
    return None


def test_sentences_stay_in_their_order_when_the_recipe_says_so(make_given):
    objective = make_objective(make_given("denoising", objective={"permute_sentences": False}))
    for e in objective.examples(objective.picks(0, 30), rngs(30)):
        assert [i for i in e.source.tolist() if i != MASK] == e.text[~e.hidden].tolist()
        assert Mark.MOVED not in e.marks


def test_hidden_tokens_are_counted_and_no_others(make_given):
    objective = make_objective(make_given("denoising"))
    picks = objective.picks(0, 8)
    batch, examples = objective.collate(picks, rngs(8)), objective.examples(picks, rngs(8))
    assert int(batch.hidden.sum()) == sum(int(e.hidden.sum()) for e in examples)
    flat = [bool(h) for e in examples for h in [*e.hidden, False]]
    assert batch.hidden.tolist()[: len(flat)] == flat
    assert not any(batch.hidden.tolist()[len(flat) :])


def test_a_damaged_sentence_counts_as_restored_when_it_was_written_anywhere(make_given):
    objective = make_objective(make_given("denoising"))
    example = max(objective.examples(objective.picks(0, 9), rngs(9)), key=lambda e: len(e.bounds))
    sentences = [example.target[a:b].tolist() for a, b in pairwise(example.bounds.tolist())]
    damaged = [
        s for s, (a, b) in zip(sentences, pairwise(example.bounds.tolist()), strict=True) if example.hidden[a:b].any()
    ]
    assert damaged
    turned = [i for s in sentences[::-1] for i in s]
    for said, right in [(example.target.tolist(), len(damaged)), (turned, len(damaged)), ([], 0), (damaged[0], 1)]:
        hits, n = objective.judge([example], [said])["sentences_restored"]
        assert n == len(damaged)
        assert right <= float(hits) <= n if said == damaged[0] else float(hits) == right
    assert holds([1, 2, 3], [2, 3])
    assert not holds([1, 2, 3], [1, 3])
