"""GPT with uncomfortable settings."""

BASE = {"vocab_size": 53, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 40}

CASES = {
    "plain": ("OpenAIGPTLMHeadModel", BASE),
    "untied": ("OpenAIGPTLMHeadModel", BASE | {"tie_word_embeddings": False, "afn": "relu"}),
    "one wide head": ("OpenAIGPTLMHeadModel", BASE | {"n_head": 1, "n_embd": 15, "n_layer": 1, "afn": "silu"}),
    "three layers": ("OpenAIGPTLMHeadModel", BASE | {"n_layer": 3, "layer_norm_epsilon": 1e-2, "afn": "swish"}),
    "odd heads": ("OpenAIGPTLMHeadModel", BASE | {"n_head": 7, "n_embd": 21, "n_positions": 13}),
    "rates": ("OpenAIGPTLMHeadModel", BASE | {"resid_pdrop": 0.3, "embd_pdrop": 0.2, "attn_pdrop": 0.0}),
    "classifier": ("OpenAIGPTForSequenceClassification", BASE | {"num_labels": 3, "pad_token_id": 0}),
    "regression": ("OpenAIGPTForSequenceClassification", BASE | {"num_labels": 1, "pad_token_id": 5}),
    "backbone": ("OpenAIGPTModel", BASE | {"afn": "gelu"}),
}
