"""T5 with uncomfortable settings: v1, v1.1 and in between."""

import torch

BASE = {"vocab_size": 53, "d_model": 18, "d_kv": 5, "d_ff": 37, "num_layers": 2, "num_decoder_layers": 3}
BASE |= {"num_heads": 3, "decoder_start_token_id": 0}
GATED = {"feed_forward_proj": "gated-gelu"}
# Every distance has a bucket of its own, or shares the last.
NARROW = {"relative_attention_num_buckets": 8, "relative_attention_max_distance": 6}


def ended(generator, batch):
    """Two ends of text in every row, one of them last."""
    ids = batch["input_ids"]
    real = batch.get("attention_mask", torch.ones_like(ids))
    place = torch.arange(ids.shape[1]) * real
    ids = torch.where(ids == 1, 3, ids)
    for row, last in enumerate(place.argmax(1).tolist()):
        ids[row, last] = 1
        ids[row, int(real[row].argmax())] = 1
    return {"input_ids": ids}


CASES = {
    "plain": ("T5ForConditionalGeneration", BASE),
    "gated": ("T5ForConditionalGeneration", BASE | GATED),
    "untied": ("T5ForConditionalGeneration", BASE | GATED | {"tie_word_embeddings": False}),
    "odd buckets": (
        "T5ForConditionalGeneration",
        BASE | {"relative_attention_num_buckets": 13, "relative_attention_max_distance": 9, "num_heads": 5},
        {"seq": 31},
    ),
    "overflow": ("T5ForConditionalGeneration", BASE | NARROW | {"feed_forward_proj": "gated-silu"}, {"seq": 40}),
    "one layer": (
        "T5ForConditionalGeneration",
        BASE | {"num_layers": 3, "num_decoder_layers": 1, "feed_forward_proj": "gelu", "layer_norm_epsilon": 1e-2},
    ),
    "classifier": (
        "T5ForSequenceClassification",
        BASE | {"num_labels": 5, "classifier_dropout": 0.3, "eos_token_id": 1, "pad_token_id": 2},
        {"extra": ended},
    ),
    "token classifier": ("T5ForTokenClassification", BASE | {"num_labels": 3, "num_decoder_layers": 2}),
    "span": ("T5ForQuestionAnswering", BASE | GATED | {"pad_token_id": 5, "decoder_start_token_id": 7}),
    "backbone": ("T5Model", BASE | NARROW | {"tie_word_embeddings": False}),
    "encoder": ("T5EncoderModel", BASE | GATED | {"num_layers": 1, "num_decoder_layers": 1}),
}
