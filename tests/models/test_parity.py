"""Our models against transformers, both ways, on settings chosen to be awkward."""

import json

import pytest
import torch
from safetensors.torch import save_file

from llmkit.models.registry import family_names, load_family
from llmkit.nn.capture import capture_attention
from llmkit.weights.convert import export, load_into


@pytest.mark.parametrize("name", family_names())
def test_every_family_has_awkward_cases_for_each_of_its_heads(name, oracle):
    classes = {class_name for class_name, _ in oracle.cases.get(name, {}).values()}
    assert classes >= set(load_family(name).heads.values())


@pytest.mark.parametrize("padding", [None, "right", "left"])
def test_logits_equal_the_oracle(pair, padding, oracle):
    batch = pair.batch(padding)
    with torch.no_grad():
        theirs, ours = pair.theirs(**batch), pair.ours(**batch)
    limit = oracle.tolerance(pair, batch)
    assert oracle.compare(pair, batch, oracle.scores(theirs), ours.logits) <= limit
    if hasattr(pair.ours, "pair_head"):
        assert torch.allclose(theirs.seq_relationship_logits, pair.ours.pair_head(ours.hidden), rtol=0, atol=limit)
    if hasattr(pair.ours, "pooler"):
        assert torch.allclose(theirs.pooler_output, pair.ours.pooler(ours.hidden), rtol=0, atol=limit)


@pytest.mark.parametrize("padding", [None, "right", "left"])
def test_attention_maps_equal_the_oracle(case, padding, oracle):
    pair = oracle.make_pair(*case, implementation="eager")
    batch = pair.batch(padding)
    with torch.no_grad(), capture_attention(pair.ours) as maps:
        theirs = pair.theirs(**batch, output_attentions=True).attentions
        pair.ours(**batch)
    assert sorted(maps) == list(range(len(theirs)))
    rows = pair.real(batch)[:, None, :, None]
    for layer, expected in enumerate(theirs):
        assert ((maps[layer] - expected) * rows).abs().max() <= 2e-5
        assert torch.allclose(maps[layer].sum(-1), torch.ones(()), atol=1e-5)


def test_what_we_save_opens_in_transformers_with_the_same_logits(pair, tmp_path, oracle):
    import transformers

    config = pair.family.config_to_hf(pair.ours.config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(export(pair.ours, pair.rules), tmp_path / "model.safetensors", metadata={"format": "pt"})
    opened, report = getattr(transformers, config["architectures"][0]).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not any(report.values()), report
    batch = pair.batch("right")
    with torch.no_grad():
        difference = oracle.compare(
            pair, batch, oracle.scores(opened.eval()(**batch)), oracle.scores(pair.theirs(**batch))
        )
    assert difference == 0


def test_config_survives_the_round_trip(pair):
    config = pair.ours.config
    assert pair.family.config_from_hf(json.loads(json.dumps(pair.family.config_to_hf(config)))) == config


def test_meta_models_take_the_stored_tensors_and_dtype(pair, oracle):
    with torch.device("meta"):
        light = pair.family.build(pair.ours.config).eval()
    load_into(light, pair.rules, {name: tensor.bfloat16() for name, tensor in pair.tensors.items()})
    assert {p.dtype for p in light.parameters()} == {torch.bfloat16}
    batch = pair.batch("left")
    with torch.no_grad():
        expected = pair.ours(**batch).logits
        difference = oracle.compare(pair, batch, expected, light(**batch).logits.float())
        assert difference <= 0.25 * expected.abs().max()
        light.float()
        load_into(light, pair.rules, pair.tensors)
        assert torch.equal(light(**batch).logits, expected)


def test_every_parameter_gets_a_gradient(pair):
    model = pair.family.build(pair.ours.config).train()
    output = model(**pair.batch())
    loss = (output.logits * torch.randn_like(output.logits)).sum()
    for extra in ("pair_head", "pooler"):
        if hasattr(model, extra):
            decision = getattr(model, extra)(output.hidden)
            loss = loss + (decision * torch.randn_like(decision)).sum()
    loss.backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_head_works_on_gathered_rows(pair):
    batch = pair.batch()
    with torch.no_grad():
        hidden = pair.ours.encode(**batch)
        if pair.ours.config.head in ("causal_lm", "masked_lm", "pretraining"):
            rows = pair.ours.head(hidden[:, 3:5].flatten(0, 1))
            assert torch.allclose(rows.view(len(hidden), 2, -1), pair.ours(**batch).logits[:, 3:5], atol=1e-5)
