"""Mistral with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6}
BASE |= {"num_key_value_heads": 2, "intermediate_size": 37, "max_position_embeddings": 64, "sliding_window": 4}
LONG = {"seq": 29}


def _rope(**parameters):
    return BASE | {"rope_parameters": {"rope_theta": 500.0, **parameters}}


CASES = {
    "window": ("MistralForCausalLM", BASE, LONG),
    "deep narrow window": ("MistralForCausalLM", BASE | {"sliding_window": 2, "num_hidden_layers": 3}, LONG),
    "itself and one layer": ("MistralForCausalLM", BASE | {"sliding_window": 3, "num_hidden_layers": 1}),
    "window of the whole text": ("MistralForCausalLM", BASE | {"sliding_window": 13}),
    "window one short": ("MistralForCausalLM", BASE | {"sliding_window": 12, "rms_norm_eps": 1e-2}),
    "no window": ("MistralForCausalLM", BASE | {"sliding_window": None, "num_key_value_heads": 6}),
    "wide heads": (
        "MistralForCausalLM",
        BASE | {"num_attention_heads": 5, "head_dim": 14, "num_key_value_heads": 1, "tie_word_embeddings": True},
    ),
    "gelu": ("MistralForCausalLM", BASE | {"hidden_act": "gelu", "hidden_size": 36, "sliding_window": 5}),
    "linear": ("MistralForCausalLM", _rope(rope_type="linear", factor=3.0), LONG),
    "yarn": (
        "MistralForCausalLM",
        _rope(rope_type="yarn", factor=4.0, original_max_position_embeddings=16) | {"head_dim": 16},
        LONG,
    ),
    "dynamic beyond": (
        "MistralForCausalLM",
        _rope(rope_type="dynamic", factor=2.0) | {"max_position_embeddings": 8},
    ),
    "classifier": ("MistralForSequenceClassification", BASE | {"num_labels": 4, "pad_token_id": 0}),
    "token classifier": ("MistralForTokenClassification", BASE | {"num_labels": 3}),
    "span": ("MistralForQuestionAnswering", BASE),
    "backbone": ("MistralModel", BASE | {"num_key_value_heads": 1}, LONG),
}

# Frequencies change as the text grows to 13.
MOVING = ("dynamic beyond",)
