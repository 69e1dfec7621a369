"""OPT with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "ffn_dim": 37}
BASE |= {"max_position_embeddings": 40, "word_embed_proj_dim": 24}
NARROW = BASE | {"word_embed_proj_dim": 14}

CASES = {
    "plain": ("OPTForCausalLM", BASE),
    "as the 350m model": ("OPTForCausalLM", NARROW | {"do_layer_norm_before": False}),
    "narrow": ("OPTForCausalLM", NARROW | {"num_hidden_layers": 3}),
    "wide": ("OPTForCausalLM", BASE | {"word_embed_proj_dim": 31, "tie_word_embeddings": False}),
    "post-norm": ("OPTForCausalLM", BASE | {"do_layer_norm_before": False, "activation_function": "gelu"}),
    "without biases": ("OPTForCausalLM", BASE | {"enable_bias": False}),
    "plain norms": ("OPTForCausalLM", BASE | {"layer_norm_elementwise_affine": False}),
    "plain post-norms without biases": (
        "OPTForCausalLM",
        NARROW | {"layer_norm_elementwise_affine": False, "enable_bias": False, "do_layer_norm_before": False},
    ),
    "without last norm": ("OPTForCausalLM", BASE | {"_remove_final_layer_norm": True, "num_hidden_layers": 1}),
    "rates": ("OPTForCausalLM", BASE | {"dropout": 0.3, "attention_dropout": 0.2, "layerdrop": 0.05, "init_std": 0.1}),
    "untied": ("OPTForCausalLM", BASE | {"tie_word_embeddings": False, "pad_token_id": 0}),
    "classifier": ("OPTForSequenceClassification", NARROW | {"num_labels": 3}),
    "odd heads": (
        "OPTForCausalLM",
        BASE | {"hidden_size": 21, "word_embed_proj_dim": 21, "num_attention_heads": 7, "max_position_embeddings": 13},
    ),
    "span": ("OPTForQuestionAnswering", NARROW | {"_remove_final_layer_norm": True}),
    "backbone": ("OPTModel", BASE),
    "narrow backbone": ("OPTModel", NARROW),
}
