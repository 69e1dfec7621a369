"""XLM with uncomfortable settings."""

import torch

BASE = {"vocab_size": 53, "emb_dim": 24, "n_layers": 2, "n_heads": 3, "max_position_embeddings": 40}
BASE |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def tongues(generator, batch):
    return {"langs": torch.randint(0, 4, batch["input_ids"].shape, generator=generator)}


FOUR = BASE | {"n_langs": 4}
SPOKEN = {"extra": tongues}
LEFT_TO_RIGHT = BASE | {"causal": True}

CASES = {
    "plain": ("XLMWithLMHeadModel", BASE),
    "four languages": ("XLMWithLMHeadModel", FOUR | {"n_layers": 3, "layer_norm_eps": 1e-3}, SPOKEN),
    "languages unmarked": ("XLMWithLMHeadModel", FOUR | {"use_lang_emb": False}, SPOKEN),
    "relu, untied": ("XLMWithLMHeadModel", BASE | {"gelu_activation": False, "tie_word_embeddings": False}),
    "sines": ("XLMModel", BASE | {"sinusoidal_embeddings": True, "emb_dim": 21, "n_heads": 7}),
    "left to right": ("XLMWithLMHeadModel", LEFT_TO_RIGHT | {"n_layers": 3}),
    "left to right in four languages": ("XLMForTokenClassification", FOUR | {"causal": True, "num_labels": 5}, SPOKEN),
    "padding among the ids": ("XLMModel", BASE | {"pad_token_id": 7, "n_layers": 1}),
    "classifier": ("XLMForSequenceClassification", BASE | {"num_labels": 5, "summary_first_dropout": 0.3}),
    "classified by the last": (
        "XLMForSequenceClassification",
        BASE | {"num_labels": 1, "summary_type": "last", "summary_activation": "tanh"},
    ),
    "classified by the mean": (
        "XLMForSequenceClassification",
        BASE | {"num_labels": 3, "summary_type": "mean", "summary_activation": "gelu"},
    ),
    "classified left to right": (
        "XLMForSequenceClassification",
        LEFT_TO_RIGHT | {"num_labels": 3, "summary_type": "cls_index"},
    ),
    "token classifier": ("XLMForTokenClassification", BASE | {"num_labels": 3}),
    "span": ("XLMForQuestionAnsweringSimple", BASE | {"n_heads": 1}),
    "backbone": ("XLMModel", BASE | {"n_heads": 2}),
}
