from itertools import pairwise

import numpy as np
import pytest

from llmkit.errors import InputRefused
from llmkit.training.objectives.gap_sentences import importance, principal
from llmkit.training.objectives.given import make_objective
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.rouge import rouge_l, rouge_n

MASK = 2


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


def text_of(sentences):
    return np.array([i for s in sentences for i in s]), np.cumsum([0, *map(len, sentences)])


def test_rouge_by_hand():
    police = "police killed the gunman".split(), "the gunman kill police".split()  # noqa: SIM905
    words = {w: i for i, w in enumerate(sorted({*police[0], *police[1]}))}
    truth, said = ([words[w] for w in side] for side in police)
    assert rouge_n(said, truth, 1) == pytest.approx(3 / 4)
    assert rouge_n(said, truth, 2) == pytest.approx(1 / 3)  # "the gunman"
    assert rouge_l(said, truth) == pytest.approx(2 / 4)  # Lin 2004, section 3.1: "the gunman"
    assert rouge_n([7, 7, 7], [7]) == pytest.approx(2 * (1 / 3) * 1 / (1 / 3 + 1)), (
        "a token counts as often as it occurs"
    )
    assert rouge_l([], []) == rouge_n([], [1]) == 0.0


def test_importance_is_rouge_1_of_a_sentence_with_the_rest():
    rng = np.random.default_rng(0)
    for _ in range(50):
        sentences = [rng.integers(10, 18, rng.integers(1, 8)).tolist() for _ in range(rng.integers(2, 7))]
        text, bounds = text_of(sentences)
        found = importance(text, bounds)
        for i, sentence in enumerate(sentences):
            rest = [t for j, s in enumerate(sentences) if j != i for t in s]
            assert found[i] == pytest.approx(rouge_n(sentence, rest, 1))


def test_the_sentences_that_have_most_in_common_with_the_others_are_chosen():
    text, bounds = text_of([[10, 11], [20, 21, 22], [10, 40, 11], [30], [20, 21, 22]])
    assert principal(text, bounds, 0.4).tolist() == [1, 4]
    assert principal(text, bounds, 0.6).tolist() == [0, 1, 4]
    assert principal(text, bounds, 0.01).tolist() == [1], "at least one; of equals the earlier"
    assert len(principal(text, bounds, 0.99)) == 4, "and one stays"


def test_source_and_target_together_are_the_text(make_given):
    objective = make_objective(make_given("gap_sentences"))
    for picks in (objective.picks(0, 60), *objective.held_out()):
        for e in objective.examples(picks, rngs(len(picks.index))):
            gaps = iter([e.target[a:b].tolist() for a, b in pairwise(e.bounds.tolist())])
            assert [t for i in e.source.tolist() for t in (next(gaps) if i == MASK else [i])] == e.text.tolist()
            assert next(gaps, None) is None
            assert [m is Mark.HIDDEN for m in e.marks] == (e.source == MASK).tolist()
            assert 0 < len(e.target) < len(e.text)


def test_a_text_of_single_sentences_is_refused(make_given, make_corpus):
    with pytest.raises(InputRefused, match="no document has 2 sentences"):
        make_objective(make_given("gap_sentences", text=make_corpus([[[10, 11, 12]], [[13]]])))


def test_single_sentences_are_no_examples(make_given, make_corpus):
    text = make_corpus([[[10, 11, 12]], [[13, 14], [13, 15]], [[16] * 80]])
    objective = make_objective(make_given("gap_sentences", text=text))
    assert objective.n_examples == 1
    assert objective.examples(objective.picks(0, 1), rngs(1))[0].text.tolist() == [13, 14, 13, 15]
