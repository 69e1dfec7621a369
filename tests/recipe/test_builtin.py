"""The built-in recipes teach: every key is explained, and they run anywhere with no file and no network."""

import itertools
import re
from pathlib import Path

import pytest

from llmkit.recipe import builtin_names, load_recipe
from llmkit.recipe.listing import listings
from llmkit.recipe.shipped import builtin_path

# Keys that say the same in one breath may share the comment above the first of them.
SHARED = {"eval_every", "save_every", "sample_prompt"}


@pytest.mark.parametrize("name", builtin_names())
def test_every_key_of_a_recipe_has_a_comment_above_it(name):
    lines = Path(builtin_path(name)).read_text(encoding="utf-8").splitlines()
    for before, line in itertools.pairwise(lines):
        key = re.match(r"\s+(\w+):|^(name|base):", line)
        if key and (key.group(1) or key.group(2)) not in SHARED:
            assert before.lstrip().startswith("#"), f"{name}: {line}"


@pytest.mark.parametrize("name", builtin_names())
def test_a_recipe_opens_with_its_name_and_fits_120_columns(name):
    text = Path(builtin_path(name)).read_text(encoding="utf-8")
    assert text.startswith(f"# {name}: ")
    assert max(map(len, text.splitlines())) <= 120
    assert load_recipe(name).name == name


@pytest.mark.parametrize("name", builtin_names())
def test_a_recipe_needs_no_file_of_ones_own(name):
    recipe = load_recipe(name)
    assert recipe.data.train == "stories"
    assert recipe.data.validation is None
    assert recipe.base is None


def test_shakespeare_is_no_larger_than_nanogpts_model():
    from llmkit.models.registry import load_family

    config = load_family("llama").config_class(vocab_size=65, **load_recipe("shakespeare-char").model.fields)
    per_layer = 4 * config.d_model**2 + 3 * config.d_model * config.d_ff + 2 * config.d_model
    tables = 1 if config.tie_embeddings else 2
    assert config.n_layers * per_layer + tables * 65 * config.d_model + config.d_model <= 800_000


def test_the_listing_estimates_parameters_within_three_percent():
    found = {entry.name: entry for entry in listings()}
    # bert-mini by hand: embeddings (4096 + 128 + 2) x 192, 4 layers of attention and feed-forward, head.
    d, ff = 192, 768
    layer = 4 * (d * d + d) + 2 * d * ff + ff + d + 4 * d
    by_hand = (4096 + 128 + 2) * d + 2 * d + 4 * layer + (d * d + d + 2 * d + 4096)
    assert found["bert-mini"].parameters == pytest.approx(by_hand, rel=0.05)
    assert found["sst2"].parameters is None
