"""CTRL with uncomfortable settings."""

BASE = {"vocab_size": 53, "n_embd": 24, "n_layer": 2, "n_head": 3, "dff": 37, "n_positions": 40}

CASES = {
    "plain": ("CTRLLMHeadModel", BASE),
    "untied": ("CTRLLMHeadModel", BASE | {"tie_word_embeddings": False}),
    "odd width": ("CTRLLMHeadModel", BASE | {"n_embd": 21, "n_head": 7, "n_positions": 13}),
    "one odd head": ("CTRLLMHeadModel", BASE | {"n_embd": 15, "n_head": 1, "n_layer": 1}),
    "rough last norm": ("CTRLLMHeadModel", BASE | {"layer_norm_epsilon": 1e-1, "n_layer": 3}),
    "long": ("CTRLLMHeadModel", BASE | {"n_positions": 700, "n_layer": 1}, {"seq": 600}),
    "rates": ("CTRLLMHeadModel", BASE | {"resid_pdrop": 0.3, "embd_pdrop": 0.0}),
    "classifier": ("CTRLForSequenceClassification", BASE | {"num_labels": 3, "pad_token_id": 0}),
    "regression": ("CTRLForSequenceClassification", BASE | {"num_labels": 1, "pad_token_id": 7}),
    "backbone": ("CTRLModel", BASE),
}
