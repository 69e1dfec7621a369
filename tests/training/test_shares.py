"""Examples are the same whoever makes them: what several processes make together is what one would make."""

from dataclasses import replace

import pytest
import torch

from llmkit.models.registry import load_family
from llmkit.recipe.load import parse_recipe
from llmkit.training.feed import Feed
from llmkit.training.objectives.balanced import LOAD
from llmkit.training.objectives.given import make_objective
from llmkit.training.parallel.place import Place
from llmkit.training.parallel.world import World
from llmkit.training.prepare import prepare
from llmkit.training.seeds import Purpose, generators
from llmkit.training.session import given, model_config
from tests.campaign.recipes import RECIPES, TEACHERS

STEPS = 12
# Means over what routers see together; each process balances its own part.
BALANCE = {"balance", "z"}


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in TEACHERS])
def test_the_losses_of_the_parts_of_a_step_add_up_to_those_of_the_whole(name, tmp_path):
    recipe = parse_recipe(RECIPES[name], "recipe.yaml")
    prepared = prepare(recipe, tmp_path, tmp_path / "cache", say=lambda line: None)
    config = model_config(recipe, prepared.tokenizer)
    torch.manual_seed(0)
    model = load_family(recipe.model.family).build(config).eval()
    for parameter in model.parameters():  # far from the even guesses of a new model, or all examples cost alike
        torch.nn.init.normal_(parameter, std=0.3)

    def losses(size):
        """By step: the sums of all processes, and what they are means over."""
        torch.manual_seed(0)
        objectives = [make_objective(given(recipe, prepared, config, tmp_path, model)) for _ in range(size)]
        feeds = [Feed(o, recipe.train, World(Place(rank, size, rank))) for rank, o in enumerate(objectives)]
        partner = objectives[0].partner
        found = []
        for step in range(STEPS):
            sums, counts = {}, {}
            for objective, feed in zip(objectives, feeds, strict=True):
                if partner is not None:
                    objective.partner.load_state_dict(partner.state_dict())
                    objective.partner.eval()
                for batch in feed.make(step):
                    for part, value in objective.loss(model, batch).sums.items():
                        if part not in BALANCE:
                            sums[part] = sums.get(part, 0.0) + value.item()
                            counts[part] = counts.get(part, 0) + batch.counts[part]
            found.append((sums, counts))
        return found

    with torch.no_grad():
        whole, parts = losses(1), losses(2)
    for (want, n), (have, m) in zip(whole, parts, strict=True):
        assert n == m
        assert have == pytest.approx(want, rel=2e-5)


def test_the_load_of_experts_is_that_of_the_text_and_not_of_answers_that_are_written(tmp_path):
    recipe = parse_recipe(RECIPES["routers"], "recipe.yaml")
    prepared = prepare(recipe, tmp_path, tmp_path / "cache", say=lambda line: None)
    config = model_config(recipe, prepared.tokenizer)
    model = load_family(recipe.model.family).build(config).eval()
    objective = make_objective(given(recipe, prepared, config, tmp_path, model))
    picks = objective.held_out()[0]
    batch = objective.collate(picks, generators(0, Purpose.VALIDATION, picks.draw))
    assert batch.to_write
    with torch.no_grad():
        loads = [objective.measure(model, b)[LOAD][0] for b in (batch, replace(batch, to_write=()))]
    assert torch.equal(*loads)
