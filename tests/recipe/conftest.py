from __future__ import annotations

import textwrap

import pytest

from llmkit.recipe.load import parse_recipe
from llmkit.recipe.problems import RecipeProblems

TINY = """\
name: tiny
model:
  family: gpt2
  d_model: 32
  n_layers: 2
  n_heads: 4
  max_seq_len: 64
objective:
  name: causal
train:
  steps: 10
  seq_len: 32
"""


@pytest.fixture
def tiny():
    return TINY


@pytest.fixture
def problems_of():
    """The problems of a recipe text (TINY with lines replaced, or a text of its own)."""

    def collect(text, *overrides, source="tiny.yaml"):
        with pytest.raises(RecipeProblems) as caught:
            parse_recipe(textwrap.dedent(text), source, overrides)
        return caught.value

    return collect


@pytest.fixture
def tiny_with():
    """TINY with one piece of text replaced by another."""

    def change(old, new):
        assert old in TINY
        return TINY.replace(old, new)

    return change
