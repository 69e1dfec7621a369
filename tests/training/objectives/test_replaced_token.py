import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llmkit.models.registry import load_family
from llmkit.training.evaluation import evaluate
from llmkit.training.learner import Learner
from llmkit.training.objectives.hiding import Hiding
from llmkit.training.objectives.masked import Masked
from llmkit.training.objectives.objective import NO_TARGET
from llmkit.training.objectives.replaced_token import (
    ReplacedToken,
    generator_config,
    judged,
    replaced,
    share_embeddings,
)
from llmkit.training.objectives.windows import Text
from llmkit.training.optim import make_optimizer
from llmkit.training.seeds import Purpose, generators
from llmkit.training.trainer import Trainer

SIZES = {"vocab_size": 50, "d_model": 32, "n_layers": 2, "n_heads": 4, "d_ff": 64, "max_seq_len": 32, "dropout": 0.0}


def networks(name="electra", seed=0, size=0.25, **more):
    """A discriminator and the generator beside it."""
    torch.manual_seed(seed)
    family = load_family(name)
    config = family.config_class(**{**SIZES, "attention_dropout": 0.0, **more}, head="replaced_token")
    model, generator = family.build(config), family.build(generator_config(config, size))
    share_embeddings(generator, model)
    return model, generator


@pytest.fixture
def objective(documents, mask_tokens):
    def make(generator, *, rate=0.3, seq_len=32, text=documents, **options):
        data = Masked(
            text, Hiding(mask_tokens, rate, masked=1.0, random=0.0), seq_len=seq_len, batch_size=8, seed=0,
            pairs=None, validation=text,
        )  # fmt: skip
        return ReplacedToken(data, generator, **{"weight": 50.0, **options})

    return make


def test_all_chosen_tokens_are_hidden_from_the_generator(objective, made, mask_tokens):
    task = objective(networks()[1])
    batch = made(task, task.picks(0, 8))
    real = batch.targets != NO_TARGET
    assert (batch.input_ids.flatten()[batch.positions[real]] == mask_tokens.mask).all()
    assert batch.counts == {"generator": int(real.sum()), "replaced": int(batch.attention_mask.sum())}


def test_replacements_are_drawn_from_the_generators_probabilities(objective, made):
    task = objective(networks()[1], rate=0.9)
    batch = made(task, task.picks(0, 400))
    scores = torch.full((len(batch.positions), 50), -30.0)
    scores[:, 7], scores[:, 8], scores[:, 49] = np.log(0.5), np.log(0.3), np.log(0.2)
    seen, is_replaced = replaced(batch, scores)
    places = batch.positions[batch.targets != NO_TARGET]
    drawn = seen.flatten()[places]
    for token, share in ((7, 0.5), (8, 0.3), (49, 0.2)):
        assert float((drawn == token).float().mean()) == pytest.approx(share, abs=0.02)
    # What is drawn by chance as it was counts as original, and nothing else has changed.
    truth = batch.originals()[0]
    assert torch.equal(is_replaced, seen != truth)
    outside = torch.ones(seen.numel(), dtype=torch.bool)
    outside[places] = False
    assert torch.equal(seen.flatten()[outside], truth.flatten()[outside])
    assert is_replaced.any()
    assert (drawn == truth.flatten()[places]).any()


def test_what_is_drawn_for_an_example_does_not_depend_on_its_batch(objective, rngs):
    task = objective(networks()[1].eval())
    picks = task.picks(0, 4)
    whole, n_compared = task.collate(picks, rngs(4)), 0
    seen, _ = replaced(whole, task._guess(whole))
    for row in range(4):
        alone = task.collate(picks.part(row, row + 1), rngs(4)[row : row + 1])
        if alone.input_ids.shape[1] == whole.input_ids.shape[1]:
            n_compared += 1
            assert torch.equal(replaced(alone, task._guess(alone))[0][0], seen[row])
    assert n_compared


@pytest.mark.parametrize("name", ["electra", "funnel"])
def test_the_losses_are_those_of_transformers(name, objective, made, tmp_path):
    import transformers

    from llmkit.checkpoint.hf_layout import write_model

    model, generator = networks(name, init_std=0.3)
    theirs = []
    for part, network in (("model", model), ("generator", generator)):
        (tmp_path / part).mkdir()
        write_model(tmp_path / part, network.eval())
        heads = load_family(name).heads
        theirs.append(getattr(transformers, heads[network.config.head]).from_pretrained(tmp_path / part).eval())
    task = objective(generator)
    batch = made(task, task.picks(0, 8))
    truth, chosen = batch.originals()
    asked = {"attention_mask": batch.attention_mask, "token_type_ids": batch.token_type_ids}
    labels = truth.masked_fill(~chosen, -100)
    found = task.loss(model, batch)
    expected = theirs[1](input_ids=batch.input_ids, labels=labels, **asked).loss
    torch.testing.assert_close(found.sums["generator"] / found.counts["generator"], expected, rtol=1e-5, atol=1e-5)
    seen, is_replaced = replaced(batch, task._guess(batch))
    expected = theirs[0](input_ids=seen, labels=is_replaced.long(), **asked).loss
    mean = found.sums["replaced"] / found.counts["replaced"] / 50
    torch.testing.assert_close(mean, expected, rtol=1e-4, atol=1e-5)


def test_electras_networks_share_their_embeddings_and_learn_them_once(objective):
    model, generator = networks(d_embed=16)
    assert generator.config.d_model == 8
    assert generator.config.n_layers == 2
    assert generator.head.decoder.weight is model.embeddings.token.weight
    assert generator.embeddings.added["position"] is model.embeddings.added["position"]
    learner = Learner(model, objective(generator))
    names = learner.learning()
    assert "embeddings.token.weight" in names
    assert "partner.embeddings.token.weight" not in names
    assert "partner.stack.blocks.0.ffn.body.up.weight" in names


def test_funnels_networks_of_two_widths_have_embeddings_of_their_own():
    generator = networks("funnel")[1]
    assert generator.embeddings.token.weight.shape == (50, 8)
    assert generator.head.decoder.weight is generator.embeddings.token.weight


def test_the_discriminators_loss_does_not_reach_the_generators_blocks(objective, made):
    model, generator = networks()
    task = objective(generator)
    batch = made(task, task.picks(0, 8))
    task.loss(model, batch).sums["replaced"].backward()
    assert all(p.grad is None for p in generator.stack.parameters())
    assert all(p.grad is not None for p in model.stack.parameters())


def test_scores_are_those_of_the_counts(objective, documents):
    model, generator = networks(init_std=0.3)
    task = objective(generator)
    scores = evaluate(task, model.eval())
    assert scores == evaluate(task, model)
    tp = said = true = n = nats = 0
    for picks in task.held_out():
        batch = task.collate(picks, generators(0, Purpose.VALIDATION, picks.draw))
        seen, is_replaced = replaced(batch, task._guess(batch))
        verdicts = judged(model, batch, seen).detach()
        for row, length in enumerate(batch.lengths()):
            says, truth = verdicts[row, :length] > 0, is_replaced[row, :length]
            tp += int((says & truth).sum())
            said += int(says.sum())
            true += int(truth.sum())
            n += length
            nats += float(F.binary_cross_entropy_with_logits(verdicts[row, :length], truth.float(), reduction="sum"))
    assert scores["replaced_precision"] == pytest.approx(tp / said)
    assert scores["replaced_recall"] == pytest.approx(tp / true)
    assert scores["replaced_f1"] == pytest.approx(2 * tp / (said + true))
    assert scores["replaced_share"] == pytest.approx(true / n)
    assert scores["replaced_loss"] == pytest.approx(nats / n, rel=1e-4)
    assert scores["loss"] == pytest.approx(scores["generator_loss"] + 50 * scores["replaced_loss"])


def test_it_learns_to_tell_what_does_not_belong(objective, settings):
    # Each document holds one token over and over: whatever else stands there was put there.
    ids = np.repeat(np.random.default_rng(0).integers(5, 50, 200), 14)
    text = Text(ids, np.arange(0, 2801, 7), np.arange(0, 401, 2))
    model, generator = networks(init_std=0.15, n_layers=1)
    task = objective(generator, text=text, rate=0.2, seq_len=16)
    s = settings(steps=60, batch_size=16, accumulate=1, seq_len=16, optimizer="muon", lr=2e-2, save_every=0)
    before = evaluate(task, model.eval())
    trainer = Trainer(model, task, make_optimizer(Learner(model, task), s), s)
    trainer.run()
    after = evaluate(task, model.eval())
    assert after["replaced_f1"] > 0.6 > before["replaced_f1"]
    assert after["generator_loss"] < before["generator_loss"]


def test_the_preview_shows_what_a_step_would_see(objective):
    task = objective(networks()[1])
    picks = task.picks(0, 8)
    batch = task.collate(picks, generators(0, Purpose.CORRUPTION, picks.draw))
    shown = task.preview(picks, generators(0, Purpose.CORRUPTION, picks.draw))
    for ids, length, glimpse in zip(batch.input_ids.tolist(), batch.lengths(), shown, strict=True):
        lane = next(lane for lane in glimpse.lanes if lane.name == "input")
        assert [i for i, _ in lane.tokens] == ids[:length]
