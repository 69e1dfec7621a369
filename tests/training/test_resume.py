"""Whether and from where a run goes on."""

import json

import torch

from llmkit.checkpoint.state import save_state
from llmkit.checkpoint.store import RunDirectory
from llmkit.recipe.load import load_recipe
from llmkit.recipe.resolved import to_yaml
from llmkit.training.resume import find_resumption

VALUES = {"best": float("-inf"), "pair": (1, 2), "rng": b"\x00\xff", "step": 3}


def test_the_values_of_a_training_state_come_back_as_they_were_saved(tmp_path):
    recipe = load_recipe("gpt-mini", [])

    def write(directory):
        save_state(directory, {"m": torch.zeros(2)}, VALUES)
        (directory / "recipe.yaml").write_text(to_yaml(recipe))
        (directory / "config.json").write_text(json.dumps({"model_type": "gpt2"}))

    run = RunDirectory(tmp_path / "run")
    with run.lock():
        run.save(3, write, meta={})
        found = find_resumption(run, recipe, allow=(), warn=lambda line: None)
    assert found is not None
    assert found.step == 3
    assert found.values == VALUES
