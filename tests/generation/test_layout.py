import copy

import torch

from llmkit.generation.layout import lay_out_for_decoding
from llmkit.models.registry import load_family
from llmkit.weights.convert import export


def test_rearranged_weights_are_the_same_weights_and_compute_the_same():
    family = load_family("gpt2")
    config = family.config_class(
        vocab_size=97, d_model=32, n_layers=2, n_heads=4, max_seq_len=32, head="causal_lm", tie_embeddings=True
    )
    plain = family.build(config).eval()
    laid_out = copy.deepcopy(plain)
    lay_out_for_decoding(laid_out)
    assert not laid_out.head.decoder.weight.is_contiguous()
    assert laid_out.head.decoder.weight is laid_out.embedding_weight
    ids = torch.randint(0, 97, (3, 9))
    with torch.no_grad():
        assert torch.allclose(plain(ids).logits, laid_out(ids).logits, atol=1e-5)
    rules = family.weight_rules(config)
    for (name, one), (other_name, other) in zip(
        export(plain, rules).items(), export(laid_out, rules).items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)


def test_half_precision_is_left_alone():
    model = torch.nn.Linear(8, 16, dtype=torch.bfloat16)
    lay_out_for_decoding(model)
    assert model.weight.is_contiguous()
