"""ProphetNet with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_encoder_layers": 2, "num_decoder_layers": 3, "num_buckets": 6}
# Its cache has as many layers as the encoder: with more of them in the decoder, it fails.
BASE |= {"use_cache": False}
BASE |= {"num_encoder_attention_heads": 3, "num_decoder_attention_heads": 2, "encoder_ffn_dim": 37}
BASE |= {"decoder_ffn_dim": 29, "max_position_embeddings": 40, "relative_max_distance": 7}

CASES = {
    "plain": ("ProphetNetForConditionalGeneration", BASE),
    "one stream": ("ProphetNetForConditionalGeneration", BASE | {"ngram": 1, "activation_function": "relu"}),
    "four streams": (
        "ProphetNetForConditionalGeneration",
        BASE | {"ngram": 4, "pad_token_id": 5, "num_decoder_layers": 1, "disable_ngram_loss": True, "eps": 0.1},
    ),
    "odd width": (
        "ProphetNetForConditionalGeneration",
        BASE | {"hidden_size": 21, "num_decoder_attention_heads": 7, "num_buckets": 9, "relative_max_distance": 8},
    ),
    "all distances apart": ("ProphetNetForConditionalGeneration", BASE | {"num_buckets": 32}),
    "untied": (
        "ProphetNetForConditionalGeneration",
        BASE | {"tie_word_embeddings": False, "activation_function": "gelu_new"},
    ),
    "input past the positions": (
        "ProphetNetForConditionalGeneration",
        BASE | {"max_position_embeddings": 11, "num_encoder_layers": 1},
        {"seq": 17},
    ),
    "backbone": ("ProphetNetModel", BASE | {"ngram": 3}),
    "untied backbone": ("ProphetNetModel", BASE | {"tie_word_embeddings": False, "num_decoder_layers": 1}),
}


def their_maps(output, batch):
    """transformers hands out the scores before the softmax, but for the decoder's own attention."""
    return {
        "encoder": [scores.softmax(-1) for scores in output["encoder_attentions"]],
        "decoder": output["decoder_attentions"],
        "cross": [scores.softmax(-1) for scores in output["cross_attentions"]],
    }
