"""Our models against transformers, both ways, on settings chosen to be awkward."""

import copy
import json
import re

import pytest
import torch
from safetensors.torch import save_file

from llmkit.models.registry import family_names, load_family
from llmkit.nn.capture import capture_attention
from llmkit.weights.convert import export, load_into

EXTRAS = {"pair_head": ("seq_relationship_logits", "sop_logits"), "pooler": ("pooler_output",)}


@pytest.mark.parametrize("name", family_names())
def test_every_family_has_awkward_cases_for_each_of_its_heads(name, oracle):
    chosen = [case[0] for case in oracle.cases.get(name, {}).values()]
    classes = {c if isinstance(c, str) else c.__name__ for c in chosen}
    assert classes >= set(load_family(name).heads.values())


def test_logits_equal_the_oracle(padded_case, oracle):
    *case, padding = padded_case
    pair = oracle.make_pair(*case)
    batch = pair.batch(padding)
    with torch.no_grad():
        theirs, ours = pair.theirs(**batch), pair.ours(**batch)
    limit = oracle.tolerance(pair, batch)
    assert oracle.compare(pair, batch, pair.scores(theirs), ours.logits) <= limit
    for part, names in EXTRAS.items():
        if hasattr(pair.ours, part):
            [expected] = [theirs[name] for name in names if name in theirs]
            assert torch.allclose(expected, getattr(pair.ours, part)(ours.hidden), rtol=0, atol=limit)


def test_streams_that_foretell_equal_the_oracle(padded_case, oracle):
    *case, padding = padded_case
    pair = oracle.make_pair(*case)
    if not hasattr(pair.ours, "streams"):
        return
    batch = pair.batch(padding)
    with torch.no_grad():
        theirs, ours = pair.theirs(**batch), pair.ours.streams(**batch)
        assert ours.shape[1] == pair.raw["ngram"]
        if pair.ours.config.head == "backbone":
            expected = theirs["last_hidden_state_ngram"].view(ours.shape)
        else:
            ours = pair.ours.head(ours)
            expected = torch.cat(
                [theirs["logits"][:, None], *([theirs["logits_ngram"]] if len(ours[0]) > 1 else [])], 1
            )
    assert (ours - expected).abs().max() <= oracle.tolerance(pair, batch)


def usual_maps(output, batch):
    """Attention maps of a Hugging Face output, by site."""
    names = {"self": "attentions", "encoder": "encoder_attentions", "decoder": "decoder_attentions"}
    return {site: output[name] for site, name in {**names, "cross": "cross_attentions"}.items() if output.get(name)}


def test_attention_maps_equal_the_oracle(padded_case, oracle):
    *case, padding = padded_case
    pair = oracle.make_pair(*case, implementation="eager")
    batch = pair.batch(padding)
    read = getattr(oracle.modules[pair.name], "their_maps", usual_maps)
    with torch.no_grad():
        theirs = read(pair.theirs(**batch, output_attentions=True), batch)
    assert sorted(theirs) == sorted(pair.ours.attention_sites)
    source = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
    for site, expected in theirs.items():
        with torch.no_grad(), capture_attention(pair.ours, site=site) as maps:
            pair.ours(**batch)
        assert sorted(maps) == list(range(len(expected)))
        for layer, right in enumerate(expected):
            if right is None:  # the oracle shows nothing that can be compared
                continue
            assert maps[layer].shape == right.shape
            queries = source if right.shape[2] == source.shape[1] and site in ("self", "encoder") else None
            rows = torch.ones(right.shape[0], 1, right.shape[2], 1) if queries is None else queries[:, None, :, None]
            assert ((maps[layer] - right) * rows).abs().max() <= 2e-5
            assert torch.allclose(maps[layer].sum(-1), torch.ones(()), atol=1e-5)


def test_what_we_save_opens_in_transformers_with_the_same_logits(pair, tmp_path, oracle):
    import transformers

    config = pair.family.config_to_hf(pair.ours.config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(export(pair.ours, pair.rules), tmp_path / "model.safetensors", metadata={"format": "pt"})
    chosen = oracle.cases[pair.name][pair.case][0]
    assert config["architectures"] == [chosen if isinstance(chosen, str) else chosen.__name__]
    theirs_class = getattr(transformers, chosen) if isinstance(chosen, str) else chosen
    opened, report = theirs_class.from_pretrained(tmp_path, output_loading_info=True)
    computed = getattr(oracle.modules[pair.name], "COMPUTED", ())
    report["missing_keys"] = [key for key in report["missing_keys"] if not key.endswith(computed)]
    assert not any(report.values()), report
    batch = pair.batch("right" if "right" in pair.options["paddings"] else None)
    with torch.no_grad():
        again, before = pair.scores(oracle.exact_experts(opened.eval())(**batch)), pair.scores(pair.theirs(**batch))
    assert oracle.compare(pair, batch, again, before) == 0


def test_config_survives_the_round_trip(pair):
    config = pair.ours.config
    assert pair.family.config_from_hf(json.loads(json.dumps(pair.family.config_to_hf(config)))) == config


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_meta_models_take_the_stored_tensors_and_dtype(pair, oracle, dtype):
    with torch.device("meta"):
        light = pair.family.build(pair.ours.config).eval()
    load_into(light, pair.rules, {name: tensor.to(dtype) for name, tensor in pair.tensors.items()})
    assert {p.dtype for p in light.parameters()} == {dtype}
    batch = pair.batch("left" if "left" in pair.options["paddings"] else None)
    with torch.no_grad():
        expected = pair.ours(**batch).logits
        rounded = light(**batch).logits
        assert rounded.dtype == dtype
        error = oracle.compare(pair, batch, expected, rounded.float())
        if error > 0.25 * expected.abs().max():  # some configurations magnify rounding, in any implementation
            their_rounded = pair.scores(copy.deepcopy(pair.theirs).to(dtype)(**batch))
            assert error <= 1.5 * oracle.compare(pair, batch, expected, their_rounded.float())
        light.float()
        load_into(light, pair.rules, pair.tensors)
        assert torch.equal(light(**batch).logits, expected)


def test_every_parameter_gets_a_gradient(pair):
    torch.manual_seed(pair.seed)
    model = pair.family.build(pair.ours.config).train()
    output = model(**pair.batch())
    loss = (output.logits * torch.randn_like(output.logits)).sum()
    for extra in EXTRAS:
        if hasattr(model, extra):
            decision = getattr(model, extra)(output.hidden)
            loss = loss + (decision * torch.randn_like(decision)).sum()
    if hasattr(model, "streams"):
        streams = model.streams(**pair.batch())
        loss = loss + (streams * torch.randn_like(streams)).sum()
    loss.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == [n for n, _ in model.named_parameters() if re.fullmatch(pair.options["idle"], n)]


def test_the_head_works_on_gathered_rows(pair):
    batch = pair.batch()
    with torch.no_grad():
        output = pair.ours(**batch)
        if pair.ours.config.head in ("causal_lm", "masked_lm", "pretraining", "seq2seq"):
            hidden = output.hidden
            rows = pair.ours.head(hidden[:, 3:5].flatten(0, 1))
            assert torch.allclose(rows.view(len(hidden), 2, -1), output.logits[:, 3:5], atol=1e-5)
