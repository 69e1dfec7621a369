"""Mixtral with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
BASE |= {"num_key_value_heads": 1, "intermediate_size": 19, "max_position_embeddings": 40, "num_local_experts": 5}
NARROW = {"sliding_window": 4}

CASES = {
    "plain": ("MixtralForCausalLM", BASE),
    "three of seven": ("MixtralForCausalLM", BASE | {"num_local_experts": 7, "num_experts_per_tok": 3}),
    "one of three": ("MixtralForCausalLM", BASE | {"num_local_experts": 3, "num_experts_per_tok": 1}),
    "all of two": (
        "MixtralForCausalLM",
        BASE | {"num_local_experts": 2, "hidden_act": "gelu", "output_router_logits": True, "num_hidden_layers": 1},
    ),
    "window": ("MixtralForCausalLM", BASE | NARROW | {"num_hidden_layers": 3, "num_key_value_heads": 3}),
    "grouped": (
        "MixtralForCausalLM",
        BASE | {"num_attention_heads": 6, "num_key_value_heads": 2, "tie_word_embeddings": True, "head_dim": 6},
    ),
    "linear": (
        "MixtralForCausalLM",
        BASE | {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0}, "rms_norm_eps": 1e-2},
    ),
    "jitter": ("MixtralForCausalLM", BASE | {"router_jitter_noise": 0.2, "router_aux_loss_coef": 0.5}),
    "classifier": ("MixtralForSequenceClassification", BASE | {"num_labels": 4, "pad_token_id": 0}),
    "token classifier": ("MixtralForTokenClassification", BASE | {"num_labels": 3}),
    "span": ("MixtralForQuestionAnswering", BASE),
    "backbone": ("MixtralModel", BASE | NARROW),
}
