"""Parameters counted without torch are those of the model that is built."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from llmkit.models.registry import family_names, load_family
from llmkit.recipe.parameters import count_parameters

PRETRAINED = ("causal_lm", "masked_lm", "pretraining", "replaced_token", "permutation_lm", "seq2seq")


@pytest.mark.parametrize("name", family_names())
@pytest.mark.parametrize("tied", [False, True])
def test_the_count_is_that_of_the_model_within_two_percent(name: str, tied: bool) -> None:
    family = load_family(name)
    if tied and name == "reformer":  # its hidden states are twice as wide as its embeddings
        tied = False
    for head in (h for h in family.heads if h in PRETRAINED):
        sizes: dict[str, Any] = {"d_model": 256, "n_layers": 6, "n_heads": 4, "max_seq_len": 128, "vocab_size": 8192}
        config = family.config_class(**sizes, head=head, tie_embeddings=tied)
        with torch.device("meta"):
            built = sum(p.numel() for p in family.build(config).parameters())
        assert count_parameters(family, config).total == pytest.approx(built, rel=0.02)


def test_experts_that_are_not_chosen_do_not_work() -> None:
    family = load_family("mixtral")
    sizes: dict[str, Any] = {"d_model": 64, "n_layers": 2, "n_heads": 2, "max_seq_len": 64, "vocab_size": 100}
    sizes |= {"n_experts": 2, "d_ff": 128}
    one, two = (count_parameters(family, family.config_class(**(sizes | {"experts_per_token": n}))) for n in (1, 2))
    assert two.active - one.active == 2 * 3 * 64 * 128
    assert two.total == one.total == two.active
