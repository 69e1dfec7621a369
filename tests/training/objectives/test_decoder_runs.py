"""What holds for every objective of decoders and XLNet: a run goes on bit for bit, learns, and shows what it does."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from llmkit.data.corpus import TokenCorpus
from llmkit.models.registry import load_family
from llmkit.recipe import load_recipe
from llmkit.recipe.schema import ObjectiveSettings, TrainSettings
from llmkit.recipe.tasks import TASKS
from llmkit.training.evaluation import evaluate
from llmkit.training.events import Step
from llmkit.training.learner import Learner
from llmkit.training.made_up import made_up
from llmkit.training.objectives.given import Given, Vocabulary, make_objective
from llmkit.training.objectives.glimpse import Mark
from llmkit.training.optim import make_optimizer
from llmkit.training.progress import Progress
from llmkit.training.saving import Commit
from llmkit.training.trainer import Trainer

VOCAB = 40
CLS, SEP = 1, 2
CASES = {
    "causal": "gpt2",
    "prefix": "llama",
    "control": "ctrl",
    "recurrent": "transformer_xl",
    "permutation": "xlnet",
}
SKILLS = {
    "causal": {"bits_per_byte"},
    "prefix": {"loss_from_left"},
    "control": {"code_accuracy", "loss_with_wrong_code"},
    "recurrent": {"bits_per_byte", "loss_without_memory"},
    "permutation": {"guess_accuracy"},
}


def corpus(n, seed):
    """Documents of a code (10, 11, 12) and 8 to 24 tokens that count from 20, by 1, 2 or 3 as the code says."""
    rng, ids, starts, sentences = np.random.default_rng(seed), [], [0], [0]
    for _ in range(n):
        step, begin = int(rng.integers(1, 4)), int(rng.integers(20))
        ids.append(9 + step)
        for i in range(int(rng.integers(8, 25))):
            ids.append(20 + (begin + step * i) % 20)
        starts.append(len(ids))
        sentences += [starts[-2] + (starts[-1] - starts[-2]) // 2, starts[-1]]
    return TokenCorpus.in_memory(np.array(ids), np.array(starts), np.array(sentences))


def given(name, *, objective=None, config=None, **train):
    family = load_family(CASES[name])
    sizes = {"vocab_size": VOCAB, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 32, "max_seq_len": 32}
    sizes |= {"dropout": 0.0, "attention_dropout": 0.0}
    settings = {"steps": 8, "batch_size": 4, "seq_len": 16, "accumulate": 2, "lr": 1e-2, "seed": 3, "log_every": 1}
    return Given(
        objective=ObjectiveSettings(name, **(objective or {})),
        train=TrainSettings(**{**settings, "eval_every": 4, "save_every": 1, **train}),
        config=family.config_class(**{**sizes, "head": TASKS[name].head(family, None), **(config or {})}),
        words=Vocabulary(size=VOCAB, pad=0, cls=CLS, sep=SEP, special=frozenset((0, 1, 2))),
        text=corpus(60, 0),
        validation=corpus(20, 1),
    )


class Kept:
    """Checkpoints in memory: weights, the optimizer's state, the objective's, and the progress."""

    def __init__(self, model, optimizer, objective):
        self.parts, self.saved = (model, optimizer, objective), {}

    def __call__(self, progress):
        model, optimizer, objective = self.parts
        tensors = (dict(model.named_parameters()), optimizer.state(), objective.state())
        copies = [{n: t.detach().clone() for n, t in of.items()} for of in tensors]
        self.saved[progress.step] = (*copies, copy.deepcopy(progress.to_values()))
        return Commit(f"step-{progress.step}", 1)


@torch.no_grad()
def trainer(of, seed=0, start=None):
    torch.manual_seed(seed)
    model, objective = load_family(CASES[of.objective.name]).build(of.config), make_objective(of)
    optimizer = make_optimizer(Learner(model, objective), of.train)
    progress = Progress()
    if start is not None:
        weights, state, remembered, values = start
        for into, tensors in ((dict(model.named_parameters()), weights), (optimizer.state(), state)):
            for name, tensor in into.items():
                tensor.copy_(tensors[name])
        objective.load_state(remembered)
        progress = Progress.from_values(copy.deepcopy(values))
    events = []
    kept = Kept(model, optimizer, objective)
    return Trainer(model, objective, optimizer, of.train, progress=progress, save=kept, emit=events.append), events


@pytest.mark.parametrize("name", CASES)
def test_resuming_at_any_step_equals_never_stopping(name):
    of = given(
        name, config={"dropout": 0.1}, steps=6, objective={"across_documents": False} if name == "causal" else {}
    )
    whole, _ = trainer(of)
    whole.run()
    for step in (1, 3, 5):
        resumed, _ = trainer(of, seed=9, start=whole.saver.write.saved[step])
        resumed.run()
        for of_whole, of_resumed in zip(whole.saver.write.saved[6], resumed.saver.write.saved[6], strict=True):
            assert of_whole.keys() == of_resumed.keys()
            for key, value in of_whole.items():
                same = (
                    torch.equal(value, of_resumed[key]) if isinstance(value, torch.Tensor) else value == of_resumed[key]
                )
                assert same, key


@pytest.mark.parametrize("name", CASES)
def test_it_learns_a_rule_and_scores_say_so(name):
    quiet = {"save_every": 0, "eval_every": 0}
    steps = 200 if name == "permutation" else 120
    of = given(name, **quiet, steps=steps, batch_size=16, accumulate=1, warmup_steps=5, config={"init_std": 0.1})
    made, events = trainer(of)
    before = evaluate(made.objective, made.model.eval())
    made.run()
    after = evaluate(made.objective, made.model.eval())
    assert next(iter(after)) == "loss"
    assert SKILLS[name] <= after.keys()
    losses = [e.loss for e in events if isinstance(e, Step)]
    assert before["loss"] == pytest.approx(np.log(VOCAB), abs=0.6)
    assert losses[-1] < 0.7 * losses[0]
    assert after["loss"] < 0.7 * before["loss"]
    if name == "permutation":
        assert after["guess_accuracy"] > before["guess_accuracy"] + 0.2
    if name == "control":
        assert after["code_accuracy"] > 0.7 > before["code_accuracy"]
        assert after["loss_with_wrong_code"] > after["loss"] + 0.1


@pytest.mark.parametrize("name", CASES)
def test_the_preview_shows_all_of_the_text_and_nothing_but_the_text(name):
    objective = make_objective(given(name))
    picks = objective.picks(0, 4)
    rngs = [np.random.default_rng(i) for i in range(4)]
    shown = objective.preview(picks, rngs)
    batch = objective.collate(picks, [np.random.default_rng(i) for i in range(4)])
    assert len(shown) == 4
    asked = sum(len(g.lanes[-1].tokens) for g in shown)
    assert asked == next(iter(batch.counts.values()))
    for row, glimpse in enumerate(shown):
        lanes = {lane.name: [i for i, _ in lane.tokens] for lane in glimpse.lanes}
        assert all(mark is Mark.TARGET for _, mark in glimpse.lanes[-1].tokens)
        first = next(iter(lanes.values()))
        assert batch.input_ids[row].tolist()[: len(first)] == first[: batch.input_ids.shape[1]]


@pytest.mark.parametrize("name", CASES)
def test_it_makes_batches_of_random_tokens_for_a_plan(name):
    of = given(name)
    recipe = dataclasses.replace(load_recipe("gpt-mini", []), objective=of.objective, train=of.train)
    objective = made_up(recipe, of.config, of.train)
    batch = objective.collate(objective.picks(0, 4), [np.random.default_rng(i) for i in range(4)])
    assert batch.n_examples == 4
    assert objective.sample(None, 1) is None
