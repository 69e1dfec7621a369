import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import InputRefused
from llmkit.prediction.batches import batches, finite
from llmkit.tokenization.framing import Framed

CPU = torch.device("cpu")


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 40))
def test_every_row_is_in_one_batch_whole_and_marked_and_batches_stay_small(lengths, tokens):
    rows = [Framed(list(range(1, n + 1)), segment_start=n - 1 if n % 3 == 0 else None) for n in lengths]
    seen = []
    for batch in batches(rows, pad_id=99, device=CPU, tokens=tokens):
        assert batch.input_ids.numel() <= tokens or len(batch.index) == 1
        mask = batch.attention_mask if batch.attention_mask is not None else torch.ones_like(batch.input_ids)
        for place, i in enumerate(batch.index):
            seen.append(i)
            assert batch.input_ids[place][mask[place] == 1].tolist() == rows[i].ids
            assert (batch.input_ids[place][mask[place] == 0] == 99).all()
            segments = batch.token_type_ids
            expected = [0] * len(rows[i].ids)
            if rows[i].segment_start is not None:
                expected[rows[i].segment_start :] = [1] * (len(expected) - rows[i].segment_start)
            assert (
                segments[place, : len(expected)].tolist() if segments is not None else [0] * len(expected)
            ) == expected
    assert sorted(seen) == list(range(len(rows)))


def test_rows_of_one_length_need_no_mask():
    (batch,) = batches([Framed([1, 2]), Framed([3, 4])], pad_id=0, device=CPU)
    assert batch.attention_mask is None
    assert batch.token_type_ids is None


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_no_answer_is_made_of_numbers_that_are_not_finite(wrong):
    logits = torch.zeros(2, 3, dtype=torch.bfloat16)
    assert finite(logits).dtype == torch.float32
    logits[1, 2] = wrong
    with pytest.raises(InputRefused, match="not finite"):
        finite(logits)
