"""PEGASUS with uncomfortable settings."""

BASE = {"vocab_size": 53, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3}
BASE |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 29, "max_position_embeddings": 40}
PUBLISHED = {"normalize_before": True, "normalize_embedding": False, "add_final_layer_norm": True}
PUBLISHED |= {"static_position_embeddings": True, "extra_pos_embeddings": 1, "scale_embedding": True}

CASES = {
    "plain": ("PegasusForConditionalGeneration", BASE | {"scale_embedding": True, "activation_function": "relu"}),
    "unscaled": ("PegasusForConditionalGeneration", BASE | {"pad_token_id": 3, "decoder_start_token_id": 3}),
    "odd width": (
        "PegasusForConditionalGeneration",
        BASE | {"d_model": 21, "decoder_attention_heads": 7, "scale_embedding": True},
    ),
    "untied": (
        "PegasusForConditionalGeneration",
        BASE | {"tie_word_embeddings": False, "activation_function": "gelu_new"},
    ),
    "published keys": ("PegasusForConditionalGeneration", BASE | PUBLISHED | {"num_hidden_layers": 1}),
    "backbone": ("PegasusModel", BASE | {"decoder_layers": 1, "activation_function": "relu"}),
    "untied backbone": ("PegasusModel", BASE | {"tie_word_embeddings": False, "encoder_layers": 3}),
}
