"""BART with uncomfortable settings."""

import torch

BASE = {"vocab_size": 53, "d_model": 24, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 3}
BASE |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 37, "decoder_ffn_dim": 29, "max_position_embeddings": 40}
BASE |= {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}


def two_ends(generator, batch):
    """Every text begins with an end token and has one more before its last token: the later one counts."""
    ids = batch["input_ids"].masked_fill(batch["input_ids"] == 2, 3)
    real = batch.get("attention_mask", torch.ones_like(ids))
    first, last = real.argmax(1, keepdim=True), (torch.arange(ids.shape[1]) * real).argmax(1, keepdim=True)
    return {"input_ids": ids.scatter(1, first, 2).scatter(1, (last - 1).maximum(first + 1), 2)}


ENDS = {"extra": two_ends}
CASES = {
    "plain": ("BartForConditionalGeneration", BASE),
    "scaled": ("BartForConditionalGeneration", BASE | {"scale_embedding": True, "activation_function": "relu"}),
    "untied": ("BartForConditionalGeneration", BASE | {"tie_word_embeddings": False, "activation_function": "swish"}),
    "odd width": ("BartForConditionalGeneration", BASE | {"d_model": 21, "decoder_attention_heads": 7}),
    "published keys": (
        "BartForConditionalGeneration",
        BASE
        | {"normalize_before": False, "add_final_layer_norm": False, "add_bias_logits": False, "classif_dropout": 0.1}
        | {"normalize_embedding": True, "static_position_embeddings": False, "extra_pos_embeddings": 2}
        | {"force_bos_token_to_be_generated": True, "forced_bos_token_id": 0, "num_hidden_layers": 1},
    ),
    "classifier": ("BartForSequenceClassification", BASE | {"classifier_dropout": 0.3}, ENDS),
    "five classes": (
        "BartForSequenceClassification",
        BASE | {"num_labels": 5, "decoder_start_token_id": 7, "encoder_layers": 1, "decoder_layers": 1},
        ENDS,
    ),
    "untied classifier": ("BartForSequenceClassification", BASE | {"tie_word_embeddings": False}, ENDS),
    "span": ("BartForQuestionAnswering", BASE | {"activation_function": "gelu_new"}),
    "backbone": ("BartModel", BASE | {"scale_embedding": True, "decoder_layers": 1}),
    "untied backbone": ("BartModel", BASE | {"tie_word_embeddings": False, "pad_token_id": 0}),
}
