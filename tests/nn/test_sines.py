"""Position tables that begin as sinusoids."""

import pytest
import torch

from llmkit.models.registry import load_family


@pytest.mark.parametrize("d_model", [16, 15])
def test_a_table_of_sines_is_the_one_transformers_begins_with(d_model):
    from transformers.models.distilbert.modeling_distilbert import create_sinusoidal_embeddings

    family = load_family("distilbert")
    sizes = {"vocab_size": 31, "d_model": d_model, "n_layers": 1, "n_heads": 1, "max_seq_len": 200}
    model = family.build(family.config_class(**sizes, sines_at_first=True))
    expected = create_sinusoidal_embeddings(200, d_model, torch.empty(200, d_model))
    table = model.embeddings.added["position"].weight
    assert torch.allclose(table, expected, rtol=0, atol=1e-6)
    assert table.requires_grad
