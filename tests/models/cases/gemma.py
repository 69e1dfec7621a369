"""Gemma with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
BASE |= {"num_key_value_heads": 1, "head_dim": 14, "intermediate_size": 37, "max_position_embeddings": 40}


def _rope(**parameters):
    return BASE | {"rope_parameters": {"rope_theta": 500.0, **parameters}}


CASES = {
    "multi query": ("GemmaForCausalLM", BASE),
    "grouped": ("GemmaForCausalLM", BASE | {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 6}),
    "odd width": ("GemmaForCausalLM", BASE | {"hidden_size": 21, "num_attention_heads": 4, "head_dim": 10}),
    "every head its own": ("GemmaForCausalLM", BASE | {"num_key_value_heads": 3, "num_hidden_layers": 3}),
    "legacy gelu": ("GemmaForCausalLM", BASE | {"hidden_act": "gelu", "num_hidden_layers": 1}),
    "silu": ("GemmaForCausalLM", BASE | {"hidden_act": "silu", "rms_norm_eps": 1e-2, "pad_token_id": None}),
    "untied with biases": ("GemmaForCausalLM", BASE | {"tie_word_embeddings": False, "attention_bias": True}),
    "linear": ("GemmaForCausalLM", _rope(rope_type="linear", factor=3.0)),
    "dynamic beyond": (
        "GemmaForCausalLM",
        _rope(rope_type="dynamic", factor=2.0) | {"max_position_embeddings": 8},
    ),
    "llama3": (
        "GemmaForCausalLM",
        _rope(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=24,
        )
        | {"head_dim": 16},
    ),
    "classifier": ("GemmaForSequenceClassification", BASE | {"num_labels": 4}),
    "token classifier": ("GemmaForTokenClassification", BASE | {"num_labels": 3, "classifier_dropout": 0.3}),
    "backbone": ("GemmaModel", BASE),
}

# Frequencies change as the text grows to 13.
MOVING = ("dynamic beyond",)
