"""GPT-2 with uncomfortable settings."""

BASE = {"vocab_size": 53, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 40, "bos_token_id": 1}
BASE |= {"eos_token_id": 2}

CASES = {
    "plain": ("GPT2LMHeadModel", BASE),
    "odd inner": ("GPT2LMHeadModel", BASE | {"n_inner": 31, "activation_function": "relu"}),
    "untied": ("GPT2LMHeadModel", BASE | {"tie_word_embeddings": False, "activation_function": "quick_gelu"}),
    "unscaled": ("GPT2LMHeadModel", BASE | {"scale_attn_weights": False, "n_embd": 12}),
    "scaled by layer": ("GPT2LMHeadModel", BASE | {"scale_attn_by_inverse_layer_idx": True, "n_layer": 3}),
    "reordered": (
        "GPT2LMHeadModel",
        BASE | {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
    ),
    "tanh": ("GPT2LMHeadModel", BASE | {"activation_function": "tanh", "layer_norm_epsilon": 1e-2}),
    "classifier": ("GPT2ForSequenceClassification", BASE | {"num_labels": 3, "pad_token_id": 0}),
    "backbone": ("GPT2Model", BASE),
    "token classifier": ("GPT2ForTokenClassification", BASE | {"num_labels": 3}),
    "span": ("GPT2ForQuestionAnswering", BASE),
}
