import numpy as np
import pytest
import torch

from llmkit.training.objectives.future_ngram import spans
from llmkit.training.objectives.given import make_objective
from llmkit.training.objectives.glimpse import Mark

MASK = 2


def rngs(n, seed=0):
    return [np.random.default_rng((seed, i)) for i in range(n)]


def test_one_span_of_nine_in_every_64_tokens():
    starts = []
    for rng in rngs(2000):
        hidden = spans(512, 0.15, rng)
        assert hidden.sum() == 8 * 9
        for part in hidden.reshape(8, 64):
            at = np.flatnonzero(part)
            assert at[-1] - at[0] == 8
            starts.append(at[0])
    n = np.bincount(starts, minlength=56)
    assert len(n) == 56, "anywhere it fits"
    assert n.min() > 0.75 * n.mean()
    assert n.max() < 1.25 * n.mean()


@pytest.mark.parametrize(("length", "wanted"), [(1, 1), (3, 1), (20, 3), (63, 9), (64, 9), (66, 9), (96, 9 + 4)])
def test_a_rest_has_its_share(length, wanted):
    assert {int(spans(length, 0.15, rng).sum()) for rng in rngs(20)} == {wanted}


def test_what_is_hidden_is_masked_replaced_or_kept_and_all_of_it_is_the_target(make_given):
    objective = make_objective(make_given("future_ngram", objective={"mask_rate": 0.5}))
    marks = dict.fromkeys((Mark.HIDDEN, Mark.REPLACED, Mark.KEPT), 0)
    examples = [e for i in range(40) for e in objective.examples(objective.picks(40 * i, 40), rngs(40, i))]
    for e in examples:
        target = iter(e.target.tolist())
        undone = [i if m is Mark.PLAIN else next(target) for i, m in zip(e.source.tolist(), e.marks, strict=True)]
        assert undone == e.text.tolist()
        assert next(target, None) is None
        for i, t, m in zip(e.source.tolist(), e.text.tolist(), e.marks, strict=True):
            assert (m is Mark.HIDDEN) == (i == MASK)
            assert (m is Mark.REPLACED) == (i not in (t, MASK))
            marks[m] = marks.get(m, 0) + 1
        assert not set(e.source.tolist()) & {0, 1, *range(50, 60)}, "no special token is put into a text"
    n = marks[Mark.HIDDEN] + marks[Mark.REPLACED] + marks[Mark.KEPT]
    assert marks[Mark.HIDDEN] / n == pytest.approx(0.8, abs=0.02)
    assert marks[Mark.REPLACED] / n == pytest.approx(0.1, abs=0.015)


def test_all_streams_learn_with_equal_weight(make_given, build):
    given = make_given("future_ngram", config={"ngram": 3, "init_std": 0.3})
    objective, model = make_objective(given), build(given).eval()
    batch = objective.collate(objective.picks(0, 6), rngs(6))
    states = model.streams(batch.input_ids, batch.attention_mask, None, batch.decoder_input_ids)
    each = [
        torch.nn.functional.cross_entropy(model.head(states[:, i]).flatten(0, 1)[batch.positions], batch.targets)
        for i in range(3)
    ]
    assert float(objective.loss(model, batch).total.detach()) == pytest.approx(float(sum(each).detach()) / 3, rel=1e-5)
    found = objective.measure(model, batch)
    assert [name for name in found if name.startswith("accuracy")] == [
        "accuracy",
        "accuracy_2_ahead",
        "accuracy_3_ahead",
    ]


def test_a_model_without_streams_learns_from_the_same_examples(make_given, build):
    given = make_given("future_ngram", family="bart")
    objective = make_objective(given)
    loss = objective.loss(build(given), objective.collate(objective.picks(0, 4), rngs(4)))
    assert 2 < float(loss.total.detach()) < 6
