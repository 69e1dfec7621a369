"""The original Transformer, in Marian's checkpoints, with uncomfortable settings."""

BASE = {"vocab_size": 53, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3}
BASE |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 29, "max_position_embeddings": 40}
BASE |= {"pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0, "forced_eos_token_id": 2}
APART = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 47}

CASES = {
    "plain": ("MarianMTModel", BASE | {"scale_embedding": True, "activation_function": "relu"}),
    "unscaled": ("MarianMTModel", BASE | {"activation_function": "swish"}),
    "odd width": ("MarianMTModel", BASE | {"d_model": 21, "decoder_attention_heads": 7}),
    "two vocabularies": ("MarianMTModel", BASE | APART),
    "untied": ("MarianMTModel", BASE | {"tie_word_embeddings": False}),
    "untied vocabularies": ("MarianMTModel", BASE | APART | {"tie_word_embeddings": False}),
    "one table of a size of its own": ("MarianMTModel", BASE | {"decoder_vocab_size": 61}),
    "untied, decoder of a size of its own": (
        "MarianMTModel",
        BASE | {"decoder_vocab_size": 47, "tie_word_embeddings": False, "scale_embedding": True},
    ),
    "other names": ("MarianMTModel", BASE | {"num_hidden_layers": 1, "num_attention_heads": 4}),
    "backbone": ("MarianModel", BASE | {"scale_embedding": True}),
    "two tables": ("MarianModel", BASE | APART),
}
