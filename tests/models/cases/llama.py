"""LLaMA with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
BASE |= {"intermediate_size": 37, "max_position_embeddings": 40}


def _rope(**parameters):
    return {**BASE, "rope_parameters": {"rope_theta": 500.0, **parameters}, "max_position_embeddings": 64}


CASES = {
    "plain": ("LlamaForCausalLM", BASE),
    "multi query": ("LlamaForCausalLM", BASE | {"num_key_value_heads": 1, "rms_norm_eps": 1e-2}),
    "grouped": (
        "LlamaForCausalLM",
        BASE | {"num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "wide heads": ("LlamaForCausalLM", BASE | {"head_dim": 14, "num_key_value_heads": 1}),
    "biases": (
        "LlamaForCausalLM",
        BASE | {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu", "num_key_value_heads": 1},
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
    "classifier": ("LlamaForSequenceClassification", BASE | {"num_labels": 4, "pad_token_id": 0}),
    "backbone": ("LlamaModel", BASE | {"num_key_value_heads": 1}),
    "token classifier": ("LlamaForTokenClassification", BASE | {"num_labels": 3}),
    "span": ("LlamaForQuestionAnswering", BASE),
}

# Frequencies change as the text grows to 13.
MOVING = ("dynamic beyond", "longrope beyond")
