from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.errors import InputRefused
from llmkit.tokenization.train import train
from llmkit.training.evaluation import evaluate
from llmkit.training.objectives.given import Vocabulary
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.objectives.hiding import LONGEST_WORD, Hiding, WordEdges
from llmkit.training.objectives.masked import Masked
from llmkit.training.objectives.masked_batch import NEXT, ORDER
from llmkit.training.objectives.windows import Text
from llmkit.training.order import POOL


def rng(seed=0):
    return np.random.default_rng(seed)


# what is hidden


def test_the_mask_rule_is_fifteen_percent_of_which_eighty_ten_ten(mask_tokens, rngs):
    before = rng().integers(5, 50, (400, 100))
    ids = before.copy()
    positions, targets = Hiding(mask_tokens, 0.15)(ids, np.ones_like(ids, dtype=bool), rngs(len(ids), 1))
    assert len(positions) == 400 * 15
    assert (np.bincount(positions // 100, minlength=400) == 15).all()
    assert (targets == before.reshape(-1)[positions]).all()
    now = ids.reshape(-1)[positions]
    masked, kept = now == mask_tokens.mask, now == targets
    assert masked.mean() == pytest.approx(0.8, abs=0.02)
    assert kept.mean() == pytest.approx(0.1 + 0.1 / 45, abs=0.02)  # a random token may be the old one
    others = np.delete(ids.reshape(-1), positions)
    assert (others == np.delete(before.reshape(-1), positions)).all()
    assert now.min() >= 4


def test_every_place_is_hidden_equally_often(mask_tokens, rngs):
    ids = rng().integers(5, 50, (4000, 20))
    positions, _ = Hiding(mask_tokens, 0.2)(ids, np.ones_like(ids, dtype=bool), rngs(len(ids)))
    assert np.bincount(positions % 20, minlength=20) / 4000 == pytest.approx(0.2, abs=0.03)


def test_special_tokens_and_padding_are_never_chosen(mask_tokens, rngs):
    ids = rng().integers(5, 50, (50, 20))
    is_text = rng(1).random((50, 20)) < 0.5
    positions, _ = Hiding(mask_tokens, 0.5)(ids, is_text, rngs(len(ids), 2))
    assert is_text.reshape(-1)[positions].all()
    empty, _ = Hiding(mask_tokens, 0.5)(ids, np.zeros_like(is_text), rngs(len(ids), 2))
    assert len(empty) == 0


def pieces(mask_tokens):
    """Ids from 40 on are pieces that go on with a word, 39 is a full stop."""
    ids = np.arange(50)
    return Hiding(mask_tokens, 0.3, WordEdges(ids < 40, ids == 39))


def words(row):
    """Columns of each word of a row."""
    found = []
    for column, token in enumerate(row):
        if token < 40 or not found or row[column - 1] == 39 or len(found[-1]) == LONGEST_WORD:
            found.append([])
        found[-1].append(column)
    return found


def test_whole_words_are_hidden_with_all_their_pieces_or_not_at_all_at_the_same_rate(mask_tokens, rngs):
    before = rng().choice([*range(5, 40), *[39] * 5, *range(40, 50), *range(40, 50)], (500, 40))
    ids = before.copy()
    positions, targets = pieces(mask_tokens)(ids, np.ones_like(ids, dtype=bool), rngs(500))
    chosen = np.zeros(ids.size, dtype=bool)
    chosen[positions] = True
    chosen, n_long = chosen.reshape(ids.shape), 0
    for row in range(500):
        for word in words(before[row]):
            assert chosen[row, word].all() or not chosen[row, word].any()
            n_long += len(word) > 1 and chosen[row, word].all()
            hidden = ids[row, word] == mask_tokens.mask
            assert hidden.all() or not hidden.any()
    assert n_long > 500
    assert chosen.mean() == pytest.approx(0.3, abs=0.01)
    assert (targets == before.reshape(-1)[positions]).all()


def test_a_word_that_never_ends_is_not_hidden_whole(mask_tokens, rngs):
    ids = np.full((20, 200), 45)
    positions, _ = pieces(mask_tokens)(ids, np.ones_like(ids, dtype=bool), rngs(20))
    assert len(positions) == pytest.approx(0.3 * 4000, rel=0.1)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("wordpiece", 'the|grandmother|said|:|"|lily|,|come|!|"|tom|\'|s|kite|.|she|did|.'),
        ("bpe", 'The| grandmother| said|:| |"|Lily|,| come|!|"| Tom|\'|s| kite|.|\n|She| did|.'),
        ("unigram", ' The| grandmother| said:| "|Lily|,| come!|"| Tom|\'|s| kite.| She| did.'),
    ],
)
def test_words_are_told_apart_in_every_kind_of_vocabulary(algorithm, expected, mask_tokens):
    text = 'The grandmother said: "Lily, come!" Tom\'s kite.\nShe did.'
    some = ["The grand mother said: ' Lily, lily, come! ' Tom kite. She did.", '\n"'] * 3
    tokenizer = train(some, algorithm=algorithm, vocab_size=300)
    known = Vocabulary.of(tokenizer)
    ids = np.array(tokenizer.encode(text))
    starts = known.starts_word[ids] | np.array([True, *known.ends_word[ids][:-1]])
    bounds = [*np.flatnonzero(starts), len(ids)]
    found = []
    for a, b in pairwise(bounds):
        spelled = "".join(tokenizer.token(int(i)).removeprefix("##").replace("▁", " ") for i in ids[a:b])
        found.append(tokenizer.decode(ids[a:b].tolist()) if tokenizer.is_lossless else spelled)
    assert len(ids) > len(found)
    assert "|".join(found) == expected


# pairs


def test_pairs_are_framed_as_bert_reads_them_and_half_of_them_do_not_follow(masked, made, mask_tokens):
    objective = masked()
    n, random = 40 * objective.n_examples, 0
    batch = made(objective, objective.picks(0, n))
    assert (batch.attention_mask == (batch.originals()[0] != mask_tokens.pad)).all()
    rows = zip(batch.originals()[0].tolist(), batch.token_type_ids.tolist(), batch.pair_labels, strict=True)
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


def test_runs_of_sentences_change_places_half_of_the_time_and_each_keeps_its_own_order(mask_tokens, made):
    # Tokens count up, so a run is in order exactly when it rises by one.
    text = Text(np.arange(10, 210), np.array([0, 3, 9, 10, 30, 100, 101, 200]), np.array([0, 4, 5, 7]))
    objective = Masked(text, Hiding(mask_tokens, 0.15), seq_len=24, batch_size=4, seed=0, pairs=ORDER)
    n, swapped = 40 * objective.n_examples, 0
    batch = made(objective, objective.picks(0, n))
    for ids, label in zip(batch.originals()[0].tolist(), batch.pair_labels.tolist(), strict=True):
        cut = [i for i, token in enumerate(ids) if token == mask_tokens.sep]
        a, b = ids[1 : cut[0]], ids[cut[0] + 1 : cut[1]]
        first, then = (b, a) if label else (a, b)
        assert first
        assert then
        assert np.diff(first + then).tolist() == [1] * (len(a) + len(b) - 1)
        swapped += label
    assert 0.45 < swapped / n < 0.55
    assert set(objective.collate(objective.picks(0, 2), [rng(), rng()]).counts) == {"masked", "sentence_order"}


def test_what_has_no_two_parts_is_left_out_of_sentence_order(mask_tokens):
    text = Text(np.arange(10, 20), np.array([0, 1, 10]), np.array([0, 1, 2]))
    objective = Masked(text, Hiding(mask_tokens, 0.15), seq_len=24, batch_size=1, seed=0, pairs=ORDER)
    assert objective.n_examples == 1
    alone = Text(np.arange(1), np.array([0, 1]), np.array([0, 1]))
    with pytest.raises(InputRefused, match="no piece of the text has 2 tokens"):
        Masked(alone, Hiding(mask_tokens, 0.15), seq_len=24, batch_size=1, seed=0, pairs=ORDER)


def test_pairs_of_one_document_are_refused(mask_tokens):
    one = Text(np.arange(9), np.array([0, 9]), np.array([0, 1]))
    with pytest.raises(InputRefused, match="at least two documents"):
        Masked(one, Hiding(mask_tokens, 0.15), seq_len=16, batch_size=1, seed=0, pairs=NEXT)


# examples


def test_the_same_example_is_corrupted_anew_each_time_but_the_same_for_the_same_seed(masked, made):
    objective = masked()
    picks = objective.picks(0, 4)
    first, second, third = (made(objective, picks, s) for s in (1, 1, 2))
    assert torch.equal(first.input_ids, second.input_ids)
    assert first.input_ids.shape != third.input_ids.shape or not torch.equal(first.input_ids, third.input_ids)


def test_static_masks_are_taken_in_turn_epoch_after_epoch(masked):
    objective, anew = masked(static_masks=3), masked()
    n, size = objective.n_examples, 4 * POOL
    epochs = -(-7 * n // size) * size
    draws = [{} for _ in range(8)]
    picks = objective.picks(0, epochs)
    for epoch, index, draw in zip(picks.epoch, picks.index, picks.draw, strict=True):
        draws[min(epoch, 7)][int(index)] = int(draw)
    assert len(draws[0]) == n
    assert draws[0] == draws[3] == draws[6]
    assert draws[1] == draws[4]
    assert len({draw for of in draws for draw in of.values()}) == 3 * n
    assert len(set(anew.picks(0, epochs).draw.tolist())) == epochs


def test_full_sentences_cross_documents_and_leave_little_padding(masked, made, documents):
    objective = masked(seq_len=32, pairs=None)
    assert objective.train.lengths.sum() == len(documents.ids)
    assert objective.train.lengths.mean() > 0.8 * 30
    batch = made(objective, objective.picks(0, 4))
    assert batch.pair_labels is None
    assert batch.counts.keys() == {"masked"}


@pytest.mark.parametrize("pairs", [NEXT, None])
def test_every_token_of_the_text_is_in_exactly_one_window(pairs, documents, mask_tokens):
    long = Text(np.arange(5, 205), np.array([0, 3, 150, 160, 200]), np.array([0, 2, 4]))
    for text in (documents, long):
        objective = Masked(text, Hiding(mask_tokens, 0.15), seq_len=20, batch_size=2, seed=0, pairs=pairs)
        tokens = np.concatenate([objective.train.whole(i) for i in range(objective.n_examples)])
        assert (tokens == text.ids).all()
        assert objective.train.lengths.max() <= 20


@pytest.mark.parametrize("pairs", [NEXT, ORDER, None])
def test_a_preview_shows_the_text_what_is_seen_of_it_and_what_is_asked(pairs, masked, rngs, mask_tokens):
    objective = masked(pairs=pairs)
    picks = objective.picks(0, 8)
    batch = objective.collate(picks, rngs(8))
    marks = set()
    for row, shown in enumerate(objective.preview(picks, rngs(8))):
        text, seen, asked = shown.lanes
        n = len(text.tokens)
        assert [i for i, _ in seen.tokens] == batch.input_ids[row, :n].tolist()
        assert [i for i, _ in text.tokens] == batch.originals()[0][row, :n].tolist()
        chosen = [mark in (Mark.HIDDEN, Mark.REPLACED, Mark.KEPT) for _, mark in seen.tokens]
        assert [t for t, c in zip(text.tokens, chosen, strict=True) if c] == [(i, Mark.PLAIN) for i, _ in asked.tokens]
        assert ("next sentence" in shown.notes) == (pairs == NEXT)
        assert ("sentence order" in shown.notes) == (pairs == ORDER)
        marks |= {mark for _, mark in seen.tokens}
    assert marks >= {Mark.HIDDEN, Mark.PLAIN, Mark.SPECIAL}


# losses


def test_the_masked_loss_is_that_of_all_logits_at_the_masked_places(masked, made, tiny_model):
    objective, model = masked(), tiny_model(causal=False).eval()
    batch = made(objective, objective.picks(0, 4))
    found = objective.loss(model, batch)
    hidden = model.encode(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    labels = torch.full((batch.input_ids.numel(),), -100)
    labels[batch.positions] = batch.targets
    everything = F.cross_entropy(model.head(hidden).flatten(0, 1), labels)
    pairs = F.cross_entropy(model.pair_head(hidden), batch.pair_labels)
    torch.testing.assert_close(found.total, everything + pairs)


@pytest.mark.parametrize(("family", "pairs"), [("bert", NEXT), ("albert", ORDER)])
def test_the_loss_is_the_one_of_transformers(family, pairs, masked, made, tmp_path):
    import transformers

    from llmkit.checkpoint.hf_layout import write_model
    from llmkit.models.registry import load_family

    of = load_family(family)
    config = of.config_class(
        vocab_size=50, d_model=16, n_layers=2, n_heads=2, d_ff=32, max_seq_len=24, head="pretraining", init_std=0.3
    )
    model = of.build(config).eval()
    write_model(tmp_path, model)
    theirs = getattr(transformers, of.heads["pretraining"]).from_pretrained(tmp_path).eval()
    objective = masked(pairs=pairs)
    batch = made(objective, objective.picks(0, 8))
    truth, chosen = batch.originals()
    judged = {"bert": "next_sentence_label", "albert": "sentence_order_label"}[family]
    expected = theirs(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        token_type_ids=batch.token_type_ids,
        labels=truth.masked_fill(~chosen, -100),
        **{judged: batch.pair_labels},
    ).loss
    torch.testing.assert_close(objective.loss(model, batch).total, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pairs", [NEXT, ORDER, None])
def test_masked_validation_is_the_same_each_time(pairs, masked, documents, tiny_model):
    objective, model = masked(pairs=pairs, validation=documents), tiny_model(causal=False).eval()
    first = evaluate(objective, model)
    assert first == evaluate(objective, model)
    judged = {f"{pairs}_accuracy"} if pairs else set()
    assert set(first) == {"loss", "masked_loss", "perplexity", "masked_accuracy"} | judged
    assert next(iter(first)) == "loss"
    assert evaluate(objective, model, poll=lambda: True) is None
