"""Tiny Hugging Face configurations with uncomfortable settings, per family. A new family adds its own here.

Each case: the class to build, the config's arguments, and how long the texts of the test are (`seq`, default 13).
"""

VOCAB = 53
_BERT = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 37,
}
_BERT |= {"max_position_embeddings": 40}
_GPT2 = {"vocab_size": VOCAB, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 40, "bos_token_id": 1}
_GPT2 |= {"eos_token_id": 2}
_LLAMA = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
_LLAMA |= {"intermediate_size": 37, "max_position_embeddings": 40}


def _rope(**parameters):
    return {**_LLAMA, "rope_parameters": {"rope_theta": 500.0, **parameters}, "max_position_embeddings": 64}


CASES = {
    "bert": {
        "pretraining": ("BertForPreTraining", _BERT),
        "masked_lm": ("BertForMaskedLM", _BERT | {"hidden_act": "gelu_new"}),
        "untied": ("BertForMaskedLM", _BERT | {"tie_word_embeddings": False, "hidden_act": "relu"}),
        "untied pretraining": ("BertForPreTraining", _BERT | {"tie_word_embeddings": False}),
        "five segments": ("BertForPreTraining", _BERT | {"type_vocab_size": 5, "layer_norm_eps": 1e-3}),
        "one wide head": ("BertForMaskedLM", _BERT | {"num_attention_heads": 1, "hidden_act": "silu"}),
        "classifier": ("BertForSequenceClassification", _BERT | {"num_labels": 5, "classifier_dropout": 0.3}),
        "regression": ("BertForSequenceClassification", _BERT | {"num_labels": 1}),
        "backbone": ("BertModel", _BERT | {"num_hidden_layers": 3}),
    },
    "gpt2": {
        "plain": ("GPT2LMHeadModel", _GPT2),
        "odd inner": ("GPT2LMHeadModel", _GPT2 | {"n_inner": 31, "activation_function": "relu"}),
        "untied": ("GPT2LMHeadModel", _GPT2 | {"tie_word_embeddings": False, "activation_function": "quick_gelu"}),
        "unscaled": ("GPT2LMHeadModel", _GPT2 | {"scale_attn_weights": False, "n_embd": 12}),
        "scaled by layer": ("GPT2LMHeadModel", _GPT2 | {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3}),
        "reordered": (
            "GPT2LMHeadModel",
            _GPT2 | {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
        ),
        "tanh": ("GPT2LMHeadModel", _GPT2 | {"activation_function": "tanh", "layer_norm_epsilon": 1e-2}),
        "classifier": ("GPT2ForSequenceClassification", _GPT2 | {"num_labels": 3, "pad_token_id": 0}),
        "backbone": ("GPT2Model", _GPT2),
    },
    "llama": {
        "plain": ("LlamaForCausalLM", _LLAMA),
        "multi query": ("LlamaForCausalLM", _LLAMA | {"num_key_value_heads": 1, "rms_norm_eps": 1e-2}),
        "grouped": (
            "LlamaForCausalLM",
            _LLAMA | {"num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True},
        ),
        "wide heads": ("LlamaForCausalLM", _LLAMA | {"head_dim": 14, "num_key_value_heads": 1}),
        "biases": (
            "LlamaForCausalLM",
            _LLAMA | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu", "num_key_value_heads": 1},
        ),
        "linear": ("LlamaForCausalLM", _rope(rope_type="linear", factor=3.0)),
        "dynamic within": ("LlamaForCausalLM", _rope(rope_type="dynamic", factor=2.0)),
        "dynamic beyond": (
            "LlamaForCausalLM",
            _rope(rope_type="dynamic", factor=2.0) | {"max_position_embeddings": 8, "num_key_value_heads": 1},
        ),
        "yarn": (
            "LlamaForCausalLM",
            _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16) | {"head_dim": 16},
        ),
        "yarn tuned": (
            "LlamaForCausalLM",
            _rope(
                rope_type="yarn",
                factor=4.0,
                original_max_position_embeddings=16,
                beta_fast=4.0,
                beta_slow=2.0,
                mscale=0.8,
                mscale_all_dim=0.5,
                truncate=False,
            )
            | {"head_dim": 16},
        ),
        "longrope within": (
            "LlamaForCausalLM",
            _rope(
                rope_type="longrope",
                short_factor=[1.0, 1.1, 1.3, 2.0],
                long_factor=[1.0, 2.0, 4.0, 9.0],
                original_max_position_embeddings=32,
            ),
        ),
        "longrope beyond": (
            "LlamaForCausalLM",
            _rope(
                rope_type="longrope",
                short_factor=[1.0, 1.1, 1.3, 2.0],
                long_factor=[1.0, 2.0, 4.0, 9.0],
                original_max_position_embeddings=8,
                factor=5.0,
            ),
        ),
        "llama3": (
            "LlamaForCausalLM",
            _rope(
                rope_type="llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=24,
            )
            | {"head_dim": 16},
        ),
        "proportional": ("LlamaForCausalLM", _rope(rope_type="proportional", partial_rotary_factor=0.5)),
        "classifier": ("LlamaForSequenceClassification", _LLAMA | {"num_labels": 4, "pad_token_id": 0}),
        "backbone": ("LlamaModel", _LLAMA | {"num_key_value_heads": 1}),
    },
}

# What a test may ask of its cases besides the family's kind; test_cases.py holds every answer against the model itself.
_GATED = {"llama"}  # families with a gate in their feed-forward layers
_MOVING = {("llama", "dynamic beyond"), ("llama", "longrope beyond")}  # frequencies change as the text grows to 13


def has(trait, name, case):
    """Whether this case is `gated`, `grouped` (some query heads share a key, not all), `moving` or `steady`."""
    if trait == "grouped":
        settings = CASES[name][case][1]
        return 1 < settings.get("num_key_value_heads", 1) < settings["num_attention_heads"]
    return {"gated": name in _GATED, "moving": (name, case) in _MOVING, "steady": (name, case) not in _MOVING}[trait]
