from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.data.corpus import TokenCorpus
from llmkit.errors import InputRefused
from llmkit.models.registry import load_family
from llmkit.training.evaluation import evaluate
from llmkit.training.learner import Learner
from llmkit.training.objectives.hiding import Hiding
from llmkit.training.objectives.translation_masked import TranslationMasked
from llmkit.training.objectives.two_sides import one_side
from llmkit.training.optim import make_optimizer
from llmkit.training.trainer import Trainer

END = 1


def corpus(documents):
    """Documents of ids, each a sentence."""
    starts = np.cumsum([0, *map(len, documents)]).astype(np.int64)
    return TokenCorpus.in_memory(np.concatenate(documents).astype(np.uint16), starts, starts)


def pairs(n=60, longest=6, seed=0):
    """Words 10 to 19, and their translations 30 to 39 in the opposite order; some closed by an end token."""
    rng = np.random.default_rng(seed)
    texts = [rng.integers(10, 20, int(rng.integers(2, longest + 1))) for _ in range(n)]
    ours, theirs = ([np.array([*side, END]) for side in of] for of in (texts, [t[::-1] + 20 for t in texts]))
    return replace(corpus(ours), target=corpus(theirs))


def network(name="xlm", seed=0, **more):
    torch.manual_seed(seed)
    family = load_family(name)
    fields = {"vocab_size": 50, "d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 32, "init_std": 0.1}
    fields |= {"dropout": 0.0, "attention_dropout": 0.0, "pad_id": 0, "head": "masked_lm", **more}
    return family.build(family.config_class(**fields))


@pytest.fixture
def objective(mask_tokens):
    def make(text=None, **options):
        options = {"seq_len": 20, "batch_size": 8, "seed": 0, "end": END, **options}
        return TranslationMasked(text or pairs(), Hiding(mask_tokens, 0.3), **options)

    return make


def test_text_and_translation_stand_side_by_side_and_positions_start_anew(objective, made, mask_tokens):
    task = objective()
    batch = made(task, task.picks(0, 32))
    truth = batch.originals()[0]
    for row, n in enumerate(batch.lengths()):
        ids, places, languages = (t[row, :n].tolist() for t in (truth, batch.position_ids, batch.languages))
        middle = ids.index(mask_tokens.sep) + 1
        assert [ids[0], ids[-1]] == [mask_tokens.cls, mask_tokens.sep]
        assert END not in ids
        assert [i + 20 for i in reversed(ids[1 : middle - 1])] == ids[middle:-1]
        assert places == [*range(middle), *range(n - middle)]
        assert languages == [0] * middle + [1] * (n - middle)
    assert torch.equal(batch.told, batch.languages)
    assert int(batch.position_ids.max()) < 20


def test_tokens_are_hidden_on_both_sides(objective, made):
    task = objective()
    batch = made(task, task.picks(0, 200))
    real = batch.targets >= 0
    sides = batch.languages.flatten()[batch.positions[real]].float()
    assert 0.4 < float(sides.mean()) < 0.6
    assert batch.counts["masked"] == int(real.sum())


def test_a_share_of_the_examples_is_one_side_alone_half_of_them_of_a_language_that_is_not_told(objective, made):
    task = objective(monolingual=0.5, validation=pairs())
    batch = made(task, task.picks(0, 400))
    lengths = batch.lengths()
    rows = [
        (set(of[:n].tolist()), set(told[:n].tolist()))
        for of, told, n in zip(batch.languages, batch.told, lengths, strict=True)
    ]
    alone = [(of, told) for of, told in rows if len(of) == 1]
    assert len(alone) / 400 == pytest.approx(0.5, abs=0.08)
    assert sum(of == {1} for of, _ in alone) / len(alone) == pytest.approx(0.5, abs=0.12)
    assert sum(told == {-1} for _, told in alone) / len(alone) == pytest.approx(0.5, abs=0.12)
    assert all(told == {0, 1} for of, told in rows if len(of) == 2)
    assert (batch.token_type_ids == batch.told.clamp(min=0)).all()
    whole = made(task, task.held_out()[0])
    assert (whole.languages.max(1).values == 1).all()  # held-out ones are pairs all


def test_long_pairs_are_cut_on_both_sides(objective, made):
    text = replace(corpus([np.full(40, 10)]), target=corpus([np.full(20, 30)]))
    batch = made(task := objective(text, seq_len=18, batch_size=1), task.picks(0, 1))
    truth = batch.originals()[0][0].tolist()
    assert len(truth) == 18
    assert truth.count(10) == 10
    assert truth.count(30) == 5


def test_models_without_segments_are_told_none(objective, made):
    task = objective(n_segments=1)
    assert not made(task, task.picks(0, 8)).token_type_ids.any()


def test_text_without_translations_is_refused(objective):
    with pytest.raises(InputRefused, match="no translations beside it"):
        objective(corpus([np.arange(10, 14)]))


def test_the_loss_is_that_of_all_logits_at_the_masked_places(objective, made):
    task, model = objective(), network(n_languages=2).eval()
    batch = made(task, task.picks(0, 8))
    logits = model(batch.input_ids, batch.attention_mask, position_ids=batch.position_ids, langs=batch.languages).logits
    truth, chosen = batch.originals()
    expected = F.cross_entropy(logits[chosen], truth[chosen])
    torch.testing.assert_close(task.loss(model, batch).total, expected, rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_one_of_transformers(objective, made, tmp_path):
    from transformers import XLMWithLMHeadModel

    from llmkit.checkpoint.hf_layout import write_model

    task, model = objective(), network(n_languages=2).eval()
    write_model(tmp_path, model)
    theirs = XLMWithLMHeadModel.from_pretrained(tmp_path).eval()
    batch = made(task, task.picks(0, 8))
    truth, chosen = batch.originals()
    expected = theirs(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        langs=batch.languages,
        labels=truth.masked_fill(~chosen, -100),
    ).loss
    torch.testing.assert_close(task.loss(model, batch).total, expected, rtol=1e-4, atol=1e-5)


def test_a_language_that_is_not_told_is_as_if_nobody_said_any():
    model = network(n_languages=2).eval()
    ids = torch.tensor([[2, 11, 12, 3]])
    unknown = torch.full_like(ids, -1)
    assert torch.equal(model(ids, langs=unknown).logits, model(ids).logits)
    assert not torch.equal(model(ids, langs=unknown + 1).logits, model(ids).logits)


def test_alone_nothing_of_the_other_side_is_seen(objective, made):
    model = network(n_languages=2).eval()
    task = objective(validation=pairs(n=1))
    batch = made(task, task.held_out()[0])
    changed = batch.input_ids.clone()
    second = batch.languages.bool()
    changed[second] = 45
    for language, side in ((0, ~second), (1, second)):
        mask = one_side(batch, language)
        other = torch.where(side, batch.input_ids, torch.full_like(batch.input_ids, 45))
        other[:, 0] = batch.input_ids[:, 0]
        before, after = (task._encode(model, replace(batch, input_ids=ids), mask) for ids in (batch.input_ids, other))
        torch.testing.assert_close(before[side], after[side])


def test_it_learns_to_look_at_the_translation(objective, settings):
    text = pairs(400, longest=4)
    task = objective(text, seq_len=12, batch_size=16, validation=pairs(40, longest=4, seed=1))
    model = network(n_languages=2)
    s = settings(steps=240, batch_size=16, accumulate=1, seq_len=12, optimizer="muon", lr=1e-2, save_every=0)
    Trainer(model, task, make_optimizer(Learner(model, task), replace(s, eval_every=0)), replace(s, eval_every=0)).run()
    after = evaluate(task, model.eval())
    assert after["masked_accuracy"] > after["alone_accuracy"] + 0.2
    assert after["gain"] == pytest.approx(after["masked_accuracy"] - after["alone_accuracy"])
    assert after["loss"] < after["alone_loss"]
