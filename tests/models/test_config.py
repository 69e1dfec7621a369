"""Configurations: legal values only, strict reading of config.json, no torch."""

import dataclasses
import subprocess
import sys

import pytest

from llmkit.errors import InputRefused, UsageError
from llmkit.models.registry import family_names, family_of, load_family

SIZES = {"vocab_size": 100, "d_model": 48, "n_layers": 2, "n_heads": 4}


def make(name, **more):
    return load_family(name).config_class(**{**SIZES, **more})


def read(name, **raw):
    return load_family(name).config_from_hf({"model_type": name, **raw})


def test_descriptions_need_no_torch():
    code = (
        "import sys; from llmkit.models.registry import *\n"
        "for n in family_names():\n"
        "    f = load_family(n)\n"
        "    f.config_from_hf(f.config_to_hf(f.config_class(vocab_size=9, d_model=8, n_layers=1, n_heads=2)))\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_families_are_refused_with_the_nearest():
    with pytest.raises(UsageError, match="no model family 'lama'") as caught:
        load_family("lama")
    assert "llama" in caught.value.hint
    with pytest.raises(UsageError):
        load_family("../config")


@pytest.mark.parametrize("name", family_names())
def test_records_are_complete(name):
    family = load_family(name)
    assert family.name == name
    assert all((family.title, family.paper, family.peculiar))
    assert set(family.heads) == set(family.config_class.HEADS)
    assert family_of(make(name)) is family
    assert next(iter(family.heads)) == make(name).head


@pytest.mark.parametrize("name", family_names())
@pytest.mark.parametrize(
    ("field", "value", "legal"),
    [
        ("d_model", 10**12, "between 1 and 65536"),
        ("d_model", 0, "between 1 and 65536"),
        ("d_model", 48.0, "a whole number"),
        ("d_model", True, "a whole number"),
        ("n_layers", "2", "a whole number"),
        ("n_heads", 5, "multiple of n_heads, which is 5"),
        ("n_heads", -1, "between 1 and 1024"),
        ("vocab_size", 2**24 + 1, "between 1 and 16777216"),
        ("dropout", 1.5, "between 0.0 and 1.0"),
        ("dropout", float("nan"), "between 0.0 and 1.0"),
        ("norm_eps", None, "a number"),
        ("tie_embeddings", 1, "true or false"),
        ("activation", "gelo", "must be one of"),
        ("head", "backbon", "must be one of"),
        ("labels", ("a",), "other heads none"),
    ],
)
def test_illegal_values_are_refused_by_name(name, field, value, legal):
    with pytest.raises(UsageError) as caught:
        make(name, **{field: value})
    assert field in caught.value.message
    assert legal in caught.value.message


def test_sizes_left_out_follow_from_the_others():
    llama = make("llama", n_kv_heads=2)
    assert (llama.head_dim, llama.n_kv_heads, llama.d_ff) == (12, 2, 128)
    assert make("gpt2").d_ff == 192
    assert make("gpt2").n_kv_heads == 4
    assert dataclasses.replace(llama, n_layers=7).d_ff == 128


def test_grouped_heads_must_divide():
    with pytest.raises(UsageError, match="n_kv_heads is 3; it must divide n_heads, which is 4"):
        make("llama", n_kv_heads=3)
    with pytest.raises(UsageError, match="head_dim is 7"):
        make("llama", head_dim=7)
    with pytest.raises(UsageError, match="n_kv_heads is 2") as caught:
        make("bert", n_kv_heads=2)
    assert caught.value.hint == "leave n_kv_heads and head_dim out"


def test_stop_ids_keep_every_end_of_text():
    config = read("llama", eos_token_id=[5, 9, 11], vocab_size=100)
    assert config.stop_ids == (5, 9, 11)
    assert load_family("llama").config_to_hf(config)["eos_token_id"] == [5, 9, 11]
    assert make("llama").stop_ids == ()


def test_absent_keys_mean_what_transformers_assumes_and_null_means_none():
    assert read("llama").eos_id == 2
    assert read("llama", eos_token_id=None).eos_id is None
    assert read("bert").pad_id == 0
    assert read("llama", pad_token_id=-1).pad_id is None
    assert read("gpt2").vocab_size == 50257


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("bert", "is_decoder", True),
        ("bert", "add_cross_attention", True),
        ("bert", "position_embedding_type", "relative_key"),
        ("bert", "hidden_act", "prelu"),
        ("bert", "hidden_act", ["gelu"]),
        ("bert", "hidden_size", 10**12),
        ("bert", "hidden_size", "768"),
        ("bert", "num_attention_heads", 7),
        ("bert", "pruned_heads", {"1": [0]}),
        ("bert", "architectures", ["BertForMultipleChoice"]),
        ("bert", "architectures", "BertModel"),
        ("gpt2", "add_cross_attention", True),
        ("gpt2", "scale_attn_weights", "yes"),
        ("gpt2", "quantization_config", {"bits": 4}),
        ("llama", "num_key_value_heads", 5),
        ("llama", "rope_scaling", {"type": "spiral", "factor": 2.0}),
        ("llama", "rope_scaling", {"type": "linear"}),
        ("llama", "rope_scaling", {"type": "linear", "factor": -1}),
        ("llama", "rope_scaling", {"type": "linear", "factor": float("inf")}),
        ("llama", "rope_scaling", {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}),
        ("llama", "rope_scaling", "linear"),
        ("llama", "rope_parameters", {"full_attention": {"rope_type": "default"}}),
        ("llama", "partial_rotary_factor", 0.5),
        ("llama", "rope_theta", 0),
        ("llama", "head_dim", 5),
        ("llama", "is_causal", False),
        ("llama", "token_classification_bias", False),
        ("mistral", "layer_types", ["sliding_attention", "full_attention"]),
        ("mistral", "sliding_window", 0),
        ("gemma", "hidden_activation", "relu"),
        ("gemma", "use_bidirectional_attention", True),
        ("gpt_neox", "rotary_pct", 1.5),
        ("falcon", "num_ln_in_parallel_attn", 2),
        ("falcon", "new_decoder_architecture", "yes"),
    ],
)
def test_what_would_change_the_computation_is_refused(name, key, value):
    with pytest.raises(InputRefused) as caught:
        read(name, **{key: value})
    named = {"num_attention_heads": "n_heads", "num_key_value_heads": "n_kv_heads", "hidden_act": "act"}
    named |= {"sliding_window": "window", "rotary_pct": "rotary_share"}
    words = (key, named.get(key, key), "rope_type", "factor", "d_model", "architecture")
    assert any(word in caught.value.message for word in words)
    assert "\n" not in caught.value.message


def test_keys_that_mean_something_only_together():
    assert read("mistral").window == 4096
    assert read("mistral", sliding_window=None, num_key_value_heads=None).window is None
    assert read("mistral", sliding_window=None, num_key_value_heads=None).n_kv_heads == 32
    assert read("gemma", hidden_act="gelu", hidden_activation=None).activation == "gelu_pytorch_tanh"
    assert read("gpt_neox", rotary_pct=0.5, rotary_emb_base=500).rotary_width == 48
    grouped = {"num_attention_heads": 128, "hidden_size": 8192, "num_kv_heads": 8, "new_decoder_architecture": True}
    assert (read("falcon").n_kv_heads, read("falcon").wiring) == (1, "one norm")
    assert (read("falcon", **grouped).n_kv_heads, read("falcon", **grouped).wiring) == (8, "two norms")
    for wrong in ({"parallel_attn": False}, {"num_ln_in_parallel_attn": 3}, {"new_decoder_architecture": False}):
        with pytest.raises(InputRefused, match=r"config\.json"):
            read("falcon", **{**grouped, "multi_query": False, **wrong})


def test_harmless_keys_are_ignored():
    config = read("bert", use_cache=True, gradient_checkpointing=False, position_embedding_type="absolute", foo={})
    assert config == read("bert")


@pytest.mark.parametrize(
    "raw",
    [
        {"id2label": {}},
        {"id2label": {"0": "a", "2": "b"}},
        {"id2label": {"0": 3}},
        {"num_labels": 0},
        {"num_labels": 10**9},
        {"id2label": ["a"]},
    ],
)
def test_broken_label_tables_are_refused(raw):
    with pytest.raises(InputRefused):
        read("bert", architectures=["BertForSequenceClassification"], **raw)


def test_labels_keep_their_order():
    config = read("bert", architectures=["BertForSequenceClassification"], id2label={"1": "bad", "0": "good"})
    assert config.labels == ("good", "bad")
    assert load_family("bert").config_to_hf(config)["label2id"] == {"good": 0, "bad": 1}
    assert read("gpt2", architectures=["GPT2ForSequenceClassification"]).labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"rope_theta": 777.0}, {"rope_parameters": {"rope_type": "default", "rope_theta": 777.0}}),
        (
            {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_parameters": {"rope_type": "linear", "rope_theta": 5e5, "factor": 2.0}},
        ),
        (
            {"rope_scaling": {"type": "yarn", "factor": 4.0}, "original_max_position_embeddings": 99},
            {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 99}},
        ),
    ],
)
def test_old_and_new_rope_settings_read_alike(old, new):
    from transformers import LlamaConfig

    ours = read("llama", **old)
    assert ours == read("llama", **new)
    theirs = LlamaConfig(**old)
    theirs.standardize_rope_params()  # as its rotary embedding does before it computes
    stored = load_family("llama").config_to_hf(ours)["rope_parameters"]
    assert stored == {k: v for k, v in theirs.rope_parameters.items() if k in stored}


def silence_of_transformers(name):
    """What transformers assumes where a config.json says only its model_type; None where it has no such model."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    spelled = load_family(name).model_type or name
    if spelled not in CONFIG_MAPPING:
        return None
    return {k: v for k, v in CONFIG_MAPPING[spelled]().to_dict().items() if k != "architectures"}


# Their defaults contradict each other; such a file is refused.
CONTRADICTING = {"reformer"}


@pytest.mark.parametrize("name", sorted(set(family_names()) - CONTRADICTING))
def test_a_silent_file_means_what_transformers_assumes(name):
    assumed = silence_of_transformers(name)
    if assumed is None:
        assert name == "transformer_xl", "an oracle of our own is for what transformers lacks"
        return
    assert read(name) == load_family(name).config_from_hf(assumed)


# Read by the code of transformers, or in published files, though not in a configuration that says nothing; the last
# ones are stored by llmkit alone.
ELSEWHERE = {"classifier_dropout", "forced_bos_token_id", "decoder_start_token_id", "n_positions", "seq_length"}
ELSEWHERE |= {
    "summary_first_dropout",
    "max_seq_len",
    "max_position_embeddings",
    "attention_dropout",
    "embedding_dropout",
}


@pytest.mark.parametrize("name", family_names())
def test_every_key_is_one_that_transformers_has(name):
    """A misspelt rate would be silent everywhere else: models are compared without dropout."""
    assumed = silence_of_transformers(name)
    keys = {key.theirs for key in load_family(name).keys.values()}
    assert assumed is None or keys - assumed.keys() <= ELSEWHERE


@pytest.mark.parametrize("name", [n for n in family_names() if any(k.also for k in load_family(n).keys.values())])
def test_where_a_file_has_two_names_for_a_size_the_one_that_transformers_heeds_counts(name):
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    family = load_family(name)
    aliased = CONFIG_MAPPING[family.model_type or name].attribute_map
    for ours, key in family.keys.items():
        for other in key.also:
            if other in aliased and ours in ("n_heads", "n_layers"):
                assert getattr(read(name, **{key.theirs: 4, other: 2}), ours) == 2
                if ours == "n_layers":  # heads are held against other sizes by some of their classes
                    made = CONFIG_MAPPING[family.model_type or name](**{key.theirs: 4, other: 2})
                    assert getattr(made, key.theirs) == 2


def test_what_is_illegal_is_told_by_the_name_in_the_file():
    with pytest.raises(InputRefused, match=r"'rms_norm_eps': norm_eps is 2\.0; it must be between"):
        read("llama", rms_norm_eps=2.0)
    with pytest.raises(InputRefused, match="'head_dim' is 7, unsupported for GPT-NeoX"):
        read("gpt_neox", head_dim=7)
