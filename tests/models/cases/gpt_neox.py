"""GPT-NeoX with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3}
BASE |= {"intermediate_size": 37, "max_position_embeddings": 40, "rotary_pct": 0.5}


def _rope(**parameters):
    return BASE | {"rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.5, **parameters}}


CASES = {
    "plain": ("GPTNeoXForCausalLM", BASE),
    "sequential": ("GPTNeoXForCausalLM", BASE | {"use_parallel_residual": False, "hidden_act": "gelu_new"}),
    "no attention biases": ("GPTNeoXForCausalLM", BASE | {"attention_bias": False, "num_hidden_layers": 3}),
    "odd rotary width": ("GPTNeoXForCausalLM", BASE | {"rotary_pct": 0.45}),
    "odd heads": ("GPTNeoXForCausalLM", BASE | {"hidden_size": 35, "num_attention_heads": 5, "rotary_pct": 0.6}),
    "one pair": ("GPTNeoXForCausalLM", BASE | {"rotary_pct": 0.25, "rotary_emb_base": 300, "num_attention_heads": 4}),
    "whole heads": ("GPTNeoXForCausalLM", BASE | {"rotary_pct": 1.0, "layer_norm_eps": 1e-2, "hidden_act": "relu"}),
    "tied": ("GPTNeoXForCausalLM", BASE | {"tie_word_embeddings": True, "num_hidden_layers": 1}),
    "linear": ("GPTNeoXForCausalLM", _rope(rope_type="linear", factor=3.0)),
    "proportional": ("GPTNeoXForCausalLM", _rope(rope_type="proportional", partial_rotary_factor=0.4)),
    "dynamic beyond": (
        "GPTNeoXForCausalLM",
        _rope(rope_type="dynamic", factor=2.0) | {"max_position_embeddings": 8},
    ),
    "classifier": ("GPTNeoXForSequenceClassification", BASE | {"num_labels": 4, "pad_token_id": 0}),
    "token classifier": ("GPTNeoXForTokenClassification", BASE | {"num_labels": 3, "classifier_dropout": 0.3}),
    "span": ("GPTNeoXForQuestionAnswering", BASE | {"use_parallel_residual": False, "hidden_dropout": 0.1}),
    "backbone": ("GPTNeoXModel", BASE),
}

# Frequencies change as the text grows to 13.
MOVING = ("dynamic beyond",)
