"""What encoders' files of earlier years hold: other names, buffers, tensors without a use, one bias for two."""

import pytest
import torch

from llmkit.checkpoint.hf_layout import read_model, write_model
from llmkit.errors import InputRefused
from llmkit.models.registry import load_family
from llmkit.weights.convert import export, load_into

SIZES = {"vocab_size": 31, "d_model": 12, "n_layers": 3, "n_heads": 3, "max_seq_len": 20}
# Where each family keeps the output layer of masked words.
OUTPUT = {"bert": "cls.predictions.", "roberta": "lm_head.", "xlm_roberta": "lm_head.", "albert": "predictions."}
FAMILIES = ("albert", "bert", "distilbert", "electra", "roberta", "xlm_roberta")
PREFIXES = {name: f"{name.removeprefix('xlm_')}." for name in FAMILIES}


def model(name, head="masked_lm", **more):
    family = load_family(name)
    torch.manual_seed(0)
    made = family.build(family.config_class(**(SIZES | more), head=head))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_()
    return made, family.weight_rules(made.config)


def load(name, tensors, head="masked_lm", **more):
    fresh, rules = model(name, head, **more)
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter.fill_(float("nan"))
    load_into(fresh, rules, tensors)
    return fresh


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize("name", OUTPUT)
def test_untied_files_with_one_bias_mean_it(name):
    made, rules = model(name, tie_embeddings=False)
    tensors, bias = export(made, rules), OUTPUT[name] + "bias"
    tensors[bias] = tensors.pop(OUTPUT[name] + "decoder.bias")
    assert same(load(name, tensors, tie_embeddings=False), made)
    both = tensors | {OUTPUT[name] + "decoder.bias": torch.ones(31)}
    assert load(name, both, tie_embeddings=False).head.decoder.bias.eq(1).all()


@pytest.mark.parametrize("name", OUTPUT)
def test_tied_files_may_hold_everything_twice(name):
    made, rules = model(name)
    tensors = export(made, rules)
    table = next(key for key in tensors if key.endswith("word_embeddings.weight"))
    twice = {"decoder.weight": tensors[table], "decoder.bias": tensors[OUTPUT[name] + "bias"]}
    copies = {OUTPUT[name] + leaf: value.clone() for leaf, value in twice.items()}
    assert same(load(name, tensors | copies), made)
    one = {key: value for key, value in (tensors | copies).items() if key != OUTPUT[name] + "bias"}
    assert same(load(name, one), made)
    copies[OUTPUT[name] + "decoder.weight"] += 1
    with pytest.raises(InputRefused, match="differ, but"):
        load(name, tensors | copies)


@pytest.mark.parametrize("name", FAMILIES)
def test_names_are_read_with_and_without_prefix_and_buffers_passed_over(name):
    made, rules = model(name)
    tensors = {key.removeprefix(PREFIXES[name]): value for key, value in export(made, rules).items()}
    assert "embeddings.word_embeddings.weight" in tensors
    assert same(load(name, tensors), made)
    buffers = {PREFIXES[name] + "embeddings.position_ids": torch.arange(20)[None]}
    assert same(load(name, tensors | buffers), made)
    backbone, rules = model(name, "backbone")
    prefixed = {PREFIXES[name] + key: value for key, value in export(backbone, rules).items()}
    assert same(load(name, prefixed, "backbone"), backbone)


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_masked_words_need_no_pooler_and_no_decision_on_pairs(name):
    made, rules = model(name, "pretraining")
    opened = load(name, export(made, rules))
    assert torch.equal(opened.head.decoder.bias, made.head.decoder.bias)
    assert not hasattr(opened, "pair_head")


@pytest.mark.parametrize("name", ["roberta", "xlm_roberta"])
def test_a_pooler_nobody_trained_is_passed_over(name):
    made, rules = model(name)
    pooler = {"roberta.pooler.dense.weight": torch.ones(12, 12), "roberta.pooler.dense.bias": torch.ones(12)}
    assert same(load(name, export(made, rules) | pooler), made)


@pytest.mark.parametrize("name", ["roberta", "xlm_roberta"])
def test_positions_need_a_padding_id(name):
    family = load_family(name)
    raw = {"model_type": name, "vocab_size": 31, "max_position_embeddings": 12}
    assert family.config_from_hf(raw).max_seq_len == 10
    assert family.config_from_hf(raw | {"pad_token_id": 5}).max_seq_len == 6
    assert family.config_to_hf(family.config_from_hf(raw | {"pad_token_id": 5}))["max_position_embeddings"] == 12
    for pad in (None, -1, "1", True, 31):
        with pytest.raises(InputRefused, match="pad_"):
            family.config_from_hf(raw | {"pad_token_id": pad, "max_position_embeddings": 50})
    with pytest.raises(InputRefused, match="'max_position_embeddings' is 12; it must be more than 12"):
        family.config_from_hf(raw | {"pad_token_id": 11})


def test_more_groups_than_layers_are_refused_in_files_and_lowered_in_recipes():
    family = load_family("albert")
    with pytest.raises(InputRefused, match="num_hidden_groups"):
        family.config_from_hf({"model_type": "albert", "num_hidden_groups": 3, "num_hidden_layers": 2})
    assert family.config_class(**SIZES, n_groups=9).n_groups == 3
    assert family.config_class(**{**SIZES, "n_layers": 7}, n_groups=3).groups == [0, 0, 0, 1, 1, 2, 2]


def test_a_shared_block_is_one_object():
    made, _ = model("albert", n_groups=2, group_blocks=2)
    one, other, *_ = blocks = list(made.stack.blocks)
    assert [blocks.index(block) for block in blocks] == [0, 1, 0, 1, 4, 5]
    assert one is not other


def test_a_block_that_many_layers_share_is_stored_once(tmp_path):
    made, rules = model("albert", n_layers=60)
    assert len(export(made, rules)) < 60
    write_model(tmp_path, made)
    assert len(set(read_model(tmp_path).stack.blocks)) == 1
