"""Routers learn to keep their experts busy, with any objective and any number of stacks."""

import dataclasses

import numpy as np
import pytest
import torch

from llmkit.errors import UsageError
from llmkit.models.registry import load_family
from llmkit.nn.moe import Router
from llmkit.recipe.schema import ObjectiveSettings
from llmkit.training.evaluation import evaluate
from llmkit.training.learner import Learner
from llmkit.training.objectives.balanced import Balanced, balanced, real_tokens
from llmkit.training.objectives.causal import Causal
from llmkit.training.objectives.given import Given, Vocabulary
from llmkit.training.objectives.objective import NO_TARGET, Batch, Loss
from llmkit.training.optim import make_optimizer
from llmkit.training.trainer import Trainer

SIZES = {"vocab_size": 40, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 16, "max_seq_len": 32}


def mixtral(**more):
    torch.manual_seed(0)
    family = load_family("mixtral")
    return family.build(family.config_class(**SIZES, n_experts=4, head="causal_lm", **more))


def stream(n=2000):
    return np.random.default_rng(0).integers(0, 40, n)


def objective(balance_weight=0.0, z_weight=0.0):
    inner = Causal(stream(), seq_len=16, seed=0, validation=stream(300))
    return Balanced(inner, balance_weight=balance_weight, z_weight=z_weight)


def test_the_parts_are_those_of_transformers_mixtral():
    transformers = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    model, wanted = mixtral().eval(), objective(0.5, 0.25)
    batch = wanted.collate(wanted.picks(0, 3), [None] * 3)
    logits = []
    hooks = [m.register_forward_hook(lambda _, __, r: logits.append(r.logits)) for m in model.modules()
             if isinstance(m, Router)]  # fmt: skip
    found = wanted.loss(model, batch)
    for hook in hooks:
        hook.remove()
    theirs = sum(transformers.load_balancing_loss_func((x.flatten(0, 1),), 4, 2) for x in logits) / len(logits)
    torch.testing.assert_close(found.sums["balance"] / batch.counts["balance"], 0.5 * theirs)
    z = torch.cat([x.logsumexp(-1) for x in logits]).square().mean()
    torch.testing.assert_close(found.sums["z"] / batch.counts["z"], 0.25 * z)
    torch.testing.assert_close(found.sums["token"], wanted.inner.loss(model, batch).sums["token"])


class Answers:
    """Asks for nothing but a pass through both stacks."""

    partner, n_examples = None, 1

    def collate(self, picks, rngs):
        return picks

    def loss(self, model, batch):
        out = model(batch.input_ids, batch.attention_mask, None, batch.decoder_input_ids)
        return Loss({"token": out.logits.sum() * 0}, batch.counts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Two(Batch):
    input_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    decoder_input_ids: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor


def test_two_stacks_are_balanced_apart_and_within_each_text_as_transformers_switch_does():
    switch = pytest.importorskip("transformers.models.switch_transformers.modeling_switch_transformers")
    torch.manual_seed(0)
    family = load_family("switch_transformers")
    config = family.config_class(**SIZES, n_experts=4, head="seq2seq", decoder_start_id=0, router_jitter=0.0)
    model = family.build(config).eval()
    everywhere = torch.arange(3 * 5)
    batch = Two(
        counts={"token": 1}, n_examples=3, n_tokens=0, input_ids=torch.randint(1, 40, (3, 9)), attention_mask=None,
        decoder_input_ids=torch.randint(1, 40, (3, 5)), positions=everywhere, targets=everywhere,
    )  # fmt: skip
    logits = {"encoder": [], "decoder": []}
    for stack in logits:
        for m in getattr(model, stack).modules():
            if isinstance(m, Router):
                m.register_forward_hook(lambda _, __, r, seen=logits[stack]: seen.append(r.logits))
    found = Balanced(Answers(), balance_weight=1.0, z_weight=1.0).loss(model, batch)
    balance = z = 0.0
    for seen in logits.values():
        together = torch.cat(seen, 1)
        layers = [switch.load_balancing_loss_func(torch.softmax(x, -1), x.argmax(-1)) for x in seen]
        balance += sum(layers) / len(layers)
        z += switch.router_z_loss_func(together)
    torch.testing.assert_close(found.sums["balance"] / 3, balance)
    torch.testing.assert_close(found.sums["z"] / 3, z)


def test_padding_counts_in_neither_stack():
    batch = Two(
        counts={}, n_examples=2, n_tokens=0, input_ids=torch.zeros(2, 3), attention_mask=torch.tensor([[1, 1, 0]] * 2),
        decoder_input_ids=torch.zeros(2, 4, dtype=torch.long), positions=torch.tensor([0, 1, 4, 0, 0]),
        targets=torch.tensor([7, 7, 7, NO_TARGET, NO_TARGET]),
    )  # fmt: skip
    read, written = real_tokens(batch)
    assert read is batch.attention_mask
    assert written.tolist() == [[1, 1, 0, 0], [1, 0, 0, 0]]


def test_two_micro_batches_weigh_as_many_examples_as_they_have(settings):
    wanted, model = objective(1.0), mixtral()
    trainer = Trainer(model, wanted, make_optimizer(Learner(model, wanted), settings()), settings(seq_len=16))
    parts, _ = trainer._gradients()
    model.eval()
    each = [wanted.loss(model, b).sums["balance"].detach() / b.n_examples for b in trainer.feed.make(0)]
    assert parts["balance"] == pytest.approx(float(sum(each)) / len(each), rel=1e-5)


def busiest(weight, settings):
    """The share of its busiest expert after a short training that began with routers that like only one, each another:
    of all layers' choices together, each expert had its part."""
    wanted, model = objective(weight), mixtral()
    with torch.no_grad():
        for layer, module in enumerate(m for m in model.modules() if isinstance(m, Router)):
            module.linear.weight.zero_()
            module.linear.weight[layer] = 1.0
    s = settings(steps=70, accumulate=1, seq_len=16, save_every=0, eval_every=0)
    before = evaluate(objective(1.0), model.eval())["busiest_expert"]
    Trainer(model, wanted, make_optimizer(Learner(model, wanted), s), s).run()
    after = evaluate(objective(1.0), model.eval())["busiest_expert"]
    return before, after


def test_balancing_spreads_tokens_over_experts(settings):
    before, after = busiest(1.0, settings)
    assert before == pytest.approx(0.5, abs=0.02), "each token chooses two; that is all of them"
    assert after < 0.28
    assert busiest(0.0, settings)[1] > after + 0.05


def given(family, objective, **config):
    made = load_family(family)
    sizes = {k: v for k, v in SIZES.items() if k != "d_ff"}
    return Given(
        objective=ObjectiveSettings("causal", **objective), train=None, words=Vocabulary(size=40), text=None,
        config=made.config_class(**sizes, **config),
    )  # fmt: skip


def test_weights_are_the_models_own_unless_the_recipe_says_otherwise():
    inner = objective().inner
    assert balanced(inner, given("mixtral", {})).weights == {"balance": 0.001}
    assert balanced(inner, given("mixtral", {"balance_weight": 0.1, "z_weight": 0.2})).weights == {
        "balance": 0.1, "z": 0.2,
    }  # fmt: skip
    assert balanced(inner, given("mixtral", {"balance_weight": 0.0})) is inner
    assert balanced(inner, given("mixtral", {}, balance_loss=False)) is inner
    assert balanced(inner, given("gpt2", {})) is inner
    with pytest.raises(UsageError, match="gpt2 has no routers to balance"):
        balanced(inner, given("gpt2", {"balance_weight": 0.1}))
