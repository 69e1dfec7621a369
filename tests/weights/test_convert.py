"""Weight rules are strict both ways: nothing missing, nothing left over, nothing misshapen, ties that hold."""

import pytest
import torch

from llmkit.errors import InputRefused
from llmkit.models.registry import family_names, load_family
from llmkit.weights.convert import export, load_into, stored_names
from llmkit.weights.rules import Computed, JoinRows, Rename, Transpose, under

SIZES = {"vocab_size": 31, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 20}


def make(name, **more):
    family = load_family(name)
    model = family.build(family.config_class(**{**SIZES, **more}))
    return model, family.weight_rules(model.config)


def test_each_rule_is_undone_by_its_inverse():
    matrix = torch.randn(6, 4)
    for rule in (
        Rename("a", "b"),
        Transpose("a", "b"),
        JoinRows("a.", "b", parts=("q", "k", "v"), rows=(2, 1, 3)),
    ):
        parts = rule.split(matrix)
        assert torch.equal(rule.join(parts), matrix)
        assert len(parts) == len(rule.match("b.weight"))
    assert [p.shape[0] for p in parts] == [2, 1, 3]


def test_patterns_carry_the_layer_number_and_the_leaf():
    rule = JoinRows("h.{i}.attn.", "blocks.{i}.qkv", parts=("q", "k"), rows=(1, 1))
    assert rule.match("blocks.12.qkv.bias") == ["h.12.attn.q.bias", "h.12.attn.k.bias"]
    assert rule.match("blocks.x.qkv.bias") is None
    assert rule.match("blocks.1.qkv.bias.more") is None
    (renamed,) = under("base.", [Rename("a", "b")], write=False)
    assert renamed.spellings("a.weight") == ["a.weight", "base.a.weight"]


@pytest.mark.parametrize("name", family_names())
def test_export_then_load_restores_every_bit(name):
    first, rules = make(name)
    second, _ = make(name)
    load_into(second, rules, export(first, rules))
    for (label, a), (_, b) in zip(first.named_parameters(), second.named_parameters(), strict=True):
        assert torch.equal(a, b), label


@pytest.mark.parametrize("name", family_names())
def test_prefixes_may_come_or_go(name):
    model, rules = make(name)
    tensors = export(model, rules)
    known = stored_names(model, rules)
    for prefix in {rule.prefix for rule in rules} - {""}:
        without = {n.removeprefix(prefix): t for n, t in tensors.items()}
        within = {prefix + n if prefix + n in known else n: t for n, t in without.items()}
        assert without.keys() != within.keys()
        for spelled in (without, within):
            load_into(make(name)[0], rules, spelled)


@pytest.mark.parametrize("name", family_names())
def test_any_missing_extra_or_misshapen_tensor_is_named(name):
    model, rules = make(name)
    tensors = export(model, rules)
    computed = {rule.written()[0] for rule in rules if isinstance(rule, Computed)}
    for gone in tensors.keys() - computed:
        with pytest.raises(InputRefused) as caught:
            load_into(model, rules, {n: t for n, t in tensors.items() if n != gone})
        assert gone in caught.value.message
    with pytest.raises(InputRefused, match=r"'extra\.weight'"):
        load_into(model, rules, tensors | {"extra.weight": torch.zeros(1)})
    for bent, tensor in tensors.items():
        with pytest.raises(InputRefused) as caught:
            load_into(model, rules, tensors | {bent: torch.zeros(*tensor.shape, 2)})
        assert bent in caught.value.message
    for name in computed:
        load_into(model, rules, {n: t for n, t in tensors.items() if n != name})
        with pytest.raises(InputRefused, match="not the table that its config"):
            load_into(model, rules, tensors | {name: tensors[name] + 1})
    bent, tensor = next((n, t) for n, t in tensors.items() if n not in computed)
    with pytest.raises(InputRefused, match="int64"):
        load_into(model, rules, tensors | {bent: tensor.long()})
    with pytest.raises(InputRefused, match="lacks tensor"):
        load_into(model, rules, {})


def test_a_layer_too_many_is_left_over():
    model, rules = make("gpt2", n_layers=3)
    small, small_rules = make("gpt2")
    with pytest.raises(InputRefused, match=r"transformer\.h\.2\."):
        load_into(small, small_rules, export(model, rules))


def test_a_refused_checkpoint_leaves_the_model_as_it_was():
    model, rules = make("llama")
    before = {n: p.clone() for n, p in model.named_parameters()}
    tensors = {n: t + 1 for n, t in export(model, rules).items()}
    last = list(tensors)[-1]
    with pytest.raises(InputRefused):
        load_into(model, rules, tensors | {last: torch.zeros(3)})
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


@pytest.mark.parametrize(
    ("name", "alias", "original"),
    [
        ("gpt2", "lm_head.weight", "transformer.wte.weight"),
        ("bert", "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"),
        ("bert", "cls.predictions.decoder.bias", "cls.predictions.bias"),
        ("llama", "lm_head.weight", "model.embed_tokens.weight"),
    ],
)
def test_tied_tensors_may_be_stored_twice_if_they_agree(name, alias, original):
    model, rules = make(name, tie_embeddings=True)
    tensors = export(model, rules)
    assert alias not in tensors
    load_into(model, rules, tensors | {alias: tensors[original].clone()})
    with pytest.raises(InputRefused, match="differ") as caught:
        load_into(model, rules, tensors | {alias: tensors[original] + 1e-3})
    assert alias in caught.value.message
    other, _ = make(name, tie_embeddings=True)
    only_alias = {n: t for n, t in tensors.items() if n != original} | {alias: tensors[original]}
    load_into(other, rules, only_alias)
    assert torch.equal(other.embedding_weight, model.embedding_weight)
    assert other.head.decoder.weight is other.embedding_weight


def test_ties_survive_loading_onto_the_meta_device():
    model, rules = make("gpt2")
    family = load_family("gpt2")
    with torch.device("meta"):
        light = family.build(model.config)
    load_into(light, rules, export(model, rules))
    assert light.head.decoder.weight is light.embedding_weight
    assert not any(p.is_meta for p in light.parameters())


def test_old_norm_names_and_stored_buffers_are_understood():
    model, rules = make("bert")
    tensors = export(model, rules)
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for n, t in tensors.items()
    }
    assert old.keys() != tensors.keys()
    fresh, _ = make("bert")
    load_into(fresh, rules, old | {"bert.embeddings.position_ids": torch.arange(20)[None]})
    assert torch.equal(fresh.embeddings.norm.weight, model.embeddings.norm.weight)
    both = tensors | {"bert.embeddings.LayerNorm.gamma": torch.ones(16)}
    with pytest.raises(InputRefused, match="twice"):
        load_into(fresh, rules, both)
    gpt2, gpt2_rules = make("gpt2")
    masks = {"transformer.h.0.attn.bias": torch.ones(1, 1, 20, 20), "h.1.attn.masked_bias": torch.tensor(-1e4)}
    load_into(gpt2, gpt2_rules, export(gpt2, gpt2_rules) | masks)


def test_published_bert_says_masked_lm_and_holds_the_pair_head_too():
    pretraining, rules = make("bert", head="pretraining")
    masked, masked_rules = make("bert", head="masked_lm")
    load_into(masked, masked_rules, export(pretraining, rules))
    assert torch.equal(masked.head.decoder.bias, pretraining.head.decoder.bias)


def test_a_fresh_head_on_a_stored_base_keeps_what_fits_and_reports_the_rest():
    stored, rules = make("bert", head="pretraining")
    tensors = export(stored, rules)
    target, target_rules = make("bert", head="classification", labels=("a", "b", "c"))
    untouched = target.head.linear.weight.clone()
    fresh = load_into(target, target_rules, tensors, known=stored_names(stored, rules))
    assert sorted(fresh) == ["head.linear.bias", "head.linear.weight"]
    assert torch.equal(target.head.linear.weight, untouched)
    assert torch.equal(target.head.pool.dense.weight, stored.pair_head.pool.dense.weight)
    with pytest.raises(InputRefused, match="lacks"):
        load_into(target, target_rules, tensors)
    broken = {n: t for n, t in tensors.items() if "layer.1.output.dense" not in n}
    with pytest.raises(InputRefused, match=r"layer\.1\.output\.dense"):
        load_into(target, target_rules, broken, known=stored_names(stored, rules))
    with pytest.raises(InputRefused, match="'odd'"):
        load_into(target, target_rules, tensors | {"odd": torch.zeros(1)}, known=stored_names(stored, rules))


def test_safetensors_accepts_what_we_export(tmp_path):
    from safetensors.torch import load_file, save_file

    model, rules = make("llama", n_kv_heads=1)
    tensors = export(model, rules)
    save_file(tensors, tmp_path / "model.safetensors")
    stored = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(stored[n], t) for n, t in tensors.items())
