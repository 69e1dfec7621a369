import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from llmkit.training.scores import Result


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(0, 4, 60), rng.integers(0, 3, 60)  # the last label is never said
    counts = np.zeros((4, 4), dtype=np.int64)
    np.add.at(counts, (truth, said), 1)
    result = Result("test", ("a", "b", "c", "d"), counts)
    assert result.accuracy == pytest.approx(accuracy_score(truth, said))
    assert result.macro_f1 == pytest.approx(f1_score(truth, said, average="macro", zero_division=0))
    p, r, f, n = precision_recall_fscore_support(truth, said, zero_division=0)
    for i, score in enumerate(result.per_label()):
        assert (score.precision, score.recall, score.f1, score.n) == pytest.approx((p[i], r[i], f[i], n[i]))
