"""BLOOM with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "n_layer": 2, "n_head": 3}

CASES = {
    "plain": ("BloomForCausalLM", BASE),
    "four heads": ("BloomForCausalLM", BASE | {"n_head": 4, "layer_norm_epsilon": 1e-2}),
    "six heads": ("BloomForCausalLM", BASE | {"n_head": 6, "n_layer": 3}, {"seq": 40}),
    "one odd head": ("BloomForCausalLM", BASE | {"n_head": 1, "hidden_size": 15, "n_layer": 1}),
    "seven odd heads": ("BloomForCausalLM", BASE | {"n_head": 7, "hidden_size": 21}),
    "untied": ("BloomForCausalLM", BASE | {"tie_word_embeddings": False}),
    "residual of the norm": ("BloomForCausalLM", BASE | {"apply_residual_connection_post_layernorm": True}),
    "residual of the norm, backbone": (
        "BloomModel",
        BASE | {"apply_residual_connection_post_layernorm": True, "n_layer": 3, "n_head": 2},
    ),
    "exact in one piece": ("BloomForCausalLM", BASE | {"slow_but_exact": True, "pretraining_tp": 1}),
    "in two pieces": ("BloomForCausalLM", BASE | {"slow_but_exact": False, "pretraining_tp": 2}),
    "classifier": ("BloomForSequenceClassification", BASE | {"num_labels": 3, "pad_token_id": 0}),
    "token classifier": (
        "BloomForTokenClassification",
        BASE | {"num_labels": 5, "hidden_dropout": 0.2, "attention_dropout": 0.1, "classifier_dropout": 0.3},
    ),
    "span": ("BloomForQuestionAnswering", BASE),
    "backbone": ("BloomModel", BASE),
}
