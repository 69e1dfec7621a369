"""Files of T5 and its kin as they are published, and as transformers 5 writes them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmkit.errors import InputRefused
from llmkit.models.registry import load_family
from llmkit.weights.convert import export, load_into

SIZES = {"vocab_size": 53, "d_model": 18, "d_kv": 5, "d_ff": 23, "num_layers": 2, "num_heads": 3}
PUBLISHED = {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], **SIZES}


def build(raw, tensors):
    family = load_family(raw["model_type"])
    model = family.build(family.config_from_hf(raw)).eval()
    load_into(model, family.weight_rules(model.config), tensors)
    return model


def save(folder, raw, tensors):
    (folder / "config.json").write_text(json.dumps(raw))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def batch():
    torch.manual_seed(5)
    return {"input_ids": torch.randint(2, 53, (2, 11)), "decoder_input_ids": torch.randint(2, 53, (2, 6))}


def agree(folder, model, name="T5ForConditionalGeneration"):
    import transformers

    theirs, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        right, ours = theirs.eval()(**batch()).logits, model(**batch()).logits
    assert torch.allclose(right, ours, atol=2e-5)
    return theirs


def random_tensors(raw, *, untied):
    family = load_family("t5")
    model = family.build(family.config_from_hf({**raw, "tie_word_embeddings": not untied}))
    torch.manual_seed(0)
    tensors = export(model, family.weight_rules(model.config))
    return {name: torch.randn_like(t) * 0.3 for name, t in tensors.items()}


@pytest.mark.parametrize("layer", ["gated-gelu", "gated-silu", "relu"])
def test_version_1_1_keeps_its_own_output_layer_whoever_wrote_the_file(layer, tmp_path):
    """Published: tie_word_embeddings false. Saved again by transformers 5: true, with scale_decoder_outputs false."""
    raw = {**PUBLISHED, "feed_forward_proj": layer, "tie_word_embeddings": False}
    tensors = random_tensors(raw, untied=True)
    assert "lm_head.weight" in tensors
    save(tmp_path, raw, tensors)
    model = build(raw, tensors)
    agree(tmp_path, model).save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    assert again["tie_word_embeddings"]
    assert not again["scale_decoder_outputs"]
    agree(tmp_path / "again", build(again, load_file(tmp_path / "again" / "model.safetensors")))
    family = load_family("t5")
    (tmp_path / "ours").mkdir()
    save(tmp_path / "ours", family.config_to_hf(model.config), export(model, family.weight_rules(model.config)))
    agree(tmp_path / "ours", model)


def test_an_output_layer_that_is_not_stored_is_the_embedding_unscaled(tmp_path):
    """A version 1.1 begun in transformers 5, which ties it all the same."""
    raw = {**PUBLISHED, "tie_word_embeddings": True, "scale_decoder_outputs": False}
    tensors = random_tensors(raw, untied=True)
    del tensors["lm_head.weight"]
    save(tmp_path, raw, tensors)
    model = build(raw, tensors)
    agree(tmp_path, model)
    assert model.head.decoder.weight.data_ptr() != model.embedding_weight.data_ptr()
    family = load_family("t5")
    with torch.device("meta"):
        light = family.build(model.config)
    load_into(light, family.weight_rules(model.config), tensors)
    assert light.head.decoder.weight.data_ptr() != light.embedding_weight.data_ptr()


def test_the_oldest_files_hold_copies_and_leftovers(tmp_path):
    raw = {**PUBLISHED, "architectures": ["T5WithLMHeadModel"], "n_positions": 512}
    tensors = random_tensors(raw, untied=False)
    leftover = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    copies = {f"{n}.weight": tensors["shared.weight"].clone() for n in ("encoder.embed_tokens", "lm_head")}
    old = {**tensors, **copies, leftover: torch.randn(32, 3)}
    save(tmp_path, raw, tensors)
    agree(tmp_path, build(raw, old))
    with pytest.raises(InputRefused, match=r"lm_head\.weight"):
        build(raw, {**old, "lm_head.weight": old["lm_head.weight"] + 1})


def test_an_encoder_opens_from_a_file_with_both_towers():
    import transformers

    raw = {**PUBLISHED, "architectures": ["T5EncoderModel"], "feed_forward_proj": "gated-gelu"}
    tensors = random_tensors({**raw, "architectures": PUBLISHED["architectures"]}, untied=True)
    model = build(raw, tensors)
    theirs = transformers.T5EncoderModel(transformers.T5Config(**SIZES, feed_forward_proj="gated-gelu")).eval()
    theirs.load_state_dict(tensors, strict=False)
    ids = batch()["input_ids"]
    with torch.no_grad():
        assert torch.allclose(model(ids).hidden, theirs(ids).last_hidden_state, atol=1e-5)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("feed_forward_proj", "gated-gelu-new"),
        ("feed_forward_proj", "glu-relu"),
        ("dense_act_fn", "gelo"),
        ("is_decoder", True),
        ("relative_attention_num_buckets", 2),
        ("tie_word_embeddings", "no"),
    ],
)
def test_what_would_change_the_computation_is_refused(key, value):
    with pytest.raises(InputRefused):
        load_family("t5").config_from_hf({**PUBLISHED, key: value})


def test_first_values_have_the_deviations_of_mesh_tensorflow():
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"vocab_size": 300, "d_model": 64, "d_kv": 16, "d_ff": 256, "num_layers": 2, "num_heads": 6}
    theirs = T5ForConditionalGeneration(T5Config(**sizes, initializer_factor=0.5)).state_dict()
    family = load_family("t5")
    model = family.build(family.config_from_hf({"model_type": "t5", **sizes, "initializer_factor": 0.5}))
    for name, tensor in export(model, family.weight_rules(model.config)).items():
        if "norm" in name:
            assert torch.equal(tensor, theirs[name])
        else:
            assert tensor.std().item() == pytest.approx(theirs[name].std().item(), rel=0.2), name


@pytest.mark.parametrize("layout", ["one by one", "stacked"])
def test_experts_of_mixtral_are_read_in_both_layouts(layout, tmp_path):
    import transformers

    sizes = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
    sizes |= {"num_key_value_heads": 1, "intermediate_size": 16, "num_local_experts": 3}
    theirs = transformers.MixtralForCausalLM(transformers.MixtralConfig(**sizes)).eval()
    theirs.save_pretrained(tmp_path, save_original_format=layout == "one by one")
    tensors = load_file(tmp_path / "model.safetensors")
    assert ("model.layers.0.mlp.experts.gate_up_proj" in tensors) == (layout == "stacked")
    model = build(json.loads((tmp_path / "config.json").read_text()), tensors)
    ids = batch()["input_ids"]
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, theirs(ids).logits, atol=1e-5)
