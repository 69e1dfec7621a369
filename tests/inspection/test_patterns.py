import numpy as np
import pytest

from llmkit.inspection.patterns import score, strongest, without_sinks

T = 24
# Two halves of one sequence, so that every token of the second half has an earlier twin.
IDS = [100, *range(1, 12), 50, *range(1, 12)]


def rows(targets, strength=0.9, causal=True):
    """Each query i puts `strength` on targets[i] and the rest evenly on what it sees."""
    a = np.zeros((T, T))
    for i in range(T):
        seen = i + 1 if causal else T
        a[i, :seen] = (1 - strength) / seen
        a[i, targets[i]] += strength
    return a.astype(np.float32)


def earlier_twin(i):
    return next((j for j in range(i) if IDS[j] == IDS[i]), 0)


MAPS = {
    "previous": rows([max(0, i - 1) for i in range(T)]),
    "sink": rows([0] * T),
    "induction": rows([earlier_twin(i) + 1 if earlier_twin(i) else 0 for i in range(T)]),
    "duplicate": rows([earlier_twin(i) for i in range(T)]),
    "broad": rows([0] * T, 0.0),
    "content": rows([min(i, 5) if i % 2 else min(i, 9) for i in range(T)]),
}
near = np.exp(-np.abs(np.arange(T)[:, None] - np.arange(T)[None, :]) / 1.0) * np.tri(T)
MAPS["local"] = (near / near.sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", ["previous", "sink", "broad", "content", "local"])
def test_a_pure_head_gets_its_own_letter(kind):
    ids = list(range(T))  # no token twice
    found = score(MAPS[kind], ids, causal=True)
    assert found.kind == kind
    assert found.induction is None
    assert found.duplicate is None
    assert 0 <= found.score <= 1


@pytest.mark.parametrize("kind", ["induction", "duplicate"])
def test_repeats_tell_induction_from_duplicate(kind):
    found = score(MAPS[kind], IDS, causal=True)
    assert found.kind == kind
    assert found.score > 0.9


def test_an_encoders_sinks_are_its_special_tokens():
    weights = rows([T - 1] * T, causal=False)
    assert score(weights, list(range(T)), causal=False, sinks=(0, T - 1)).kind == "sink"
    assert score(weights, list(range(T)), causal=False, sinks=(0,)).kind == "content"


def test_scores_of_random_maps_stay_between_0_and_1():
    rng = np.random.default_rng(0)
    for total in (1, 2, 3, 4, 17):
        raw = rng.random((total, total)).astype(np.float32)
        weights = raw / raw.sum(1, keepdims=True)
        found = score(weights, rng.integers(0, 3, total), causal=False, sinks=(0,))
        for value in (found.previous, found.sink, found.local, found.broad, found.peak, found.score):
            assert 0 <= value <= 1.0001


def test_broad_is_full_entropy_and_peaked_is_none():
    assert score(MAPS["broad"], list(range(T)), causal=True).broad == pytest.approx(1.0, abs=1e-5)
    one_hot = np.eye(T, k=-1, dtype=np.float32)
    one_hot[0, 0] = 1
    assert score(one_hot, list(range(T)), causal=True).broad == pytest.approx(0.0)


def test_hiding_sinks_renormalizes_and_states_the_mass():
    shown, hidden = without_sinks(rows([0] * T, 0.5), (0,))
    assert (shown[:, 0] == 0).all()
    np.testing.assert_allclose(shown[2:].sum(1), 1, rtol=1e-5)
    assert 0.5 < hidden < 0.65


def test_strongest_links_leave_out_sinks_and_the_first_query():
    weights = MAPS["content"].copy()
    weights[7, 0], weights[0, 0] = 0.99, 1.0
    links = strongest(weights, 5, causal=True, sinks=(0,))
    assert len(links) == 5
    assert len({q for q, _, _ in links}) == 5
    assert all(q != 0 and k != 0 for q, k, _ in links)
    assert [w for _, _, w in links] == sorted((w for _, _, w in links), reverse=True)
    assert all(w == pytest.approx(float(weights[q, k])) for q, k, w in links)


def test_early_queries_do_not_win_by_seeing_few_keys():
    weights = np.tri(T, dtype=np.float32) / np.arange(1, T + 1, dtype=np.float32)[:, None]  # an even spread
    weights[20, :21] = 0.7 / 20
    weights[20, 9] = 0.3
    assert strongest(weights, 1, causal=True, sinks=(0,)) == [(20, 9, pytest.approx(0.3))]
    assert score(MAPS["broad"], list(range(T)), causal=True).peak == pytest.approx(0, abs=1e-6)
