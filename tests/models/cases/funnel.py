"""Funnel-Transformer with uncomfortable settings."""

import torch

BASE = {"vocab_size": 53, "d_model": 24, "n_head": 3, "d_head": 6, "d_inner": 37, "block_sizes": [1, 2, 2]}
BASE |= {"num_decoder_layers": 1, "type_vocab_size": 3}
# Files of old name the kinds of segments: two, and [CLS], which belongs to both.
ONE_SEGMENT = {"type_vocab_size": None}


def pooled(times, *, first=True, cut=True):
    """Every token of the shortened text counts."""

    def real(batch):
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
        for _ in range(times):
            kept = mask[:, : mask.shape[1] - cut] if first else mask
            mask = torch.cat([mask[:, :1], kept], 1)[:, ::2] if first else mask[:, ::2]
        return mask

    return real


# The first token is exempt from them, and a classifier reads nothing else of the last layer.
IDLE = r"stack\.blocks\.4\.attn\.body\.(position|segment)_.*"

CASES = {
    "replaced tokens": ("FunnelForPreTraining", BASE),
    "masked_lm": ("FunnelForMaskedLM", BASE | {"pooling_type": "max", "hidden_act": "relu", "layer_norm_eps": 1e-3}),
    "untied": (
        "FunnelForMaskedLM",
        BASE | ONE_SEGMENT | {"tie_word_embeddings": False, "attention_type": "factorized"},
    ),
    "pool all": ("FunnelForMaskedLM", BASE | {"pool_q_only": False, "d_head": 9}, {"seq": 16}),
    "pool all factorized": (
        "FunnelForMaskedLM",
        BASE | {"pool_q_only": False, "attention_type": "factorized", "truncate_seq": False},
    ),
    "whole": ("FunnelForTokenClassification", BASE | {"separate_cls": False, "num_labels": 3}),
    "whole and long": (
        "FunnelForTokenClassification",
        BASE | {"separate_cls": False, "pooling_type": "max", "attention_type": "factorized"},
        {"seq": 31},
    ),
    "uncut": ("FunnelForQuestionAnswering", BASE | {"truncate_seq": False, "n_head": 1}, {"seq": 22}),
    "repeats": ("FunnelModel", BASE | {"block_sizes": [2, 1], "block_repeats": [2, 3], "num_decoder_layers": 3}),
    "repeats at the top": ("FunnelModel", BASE | {"block_sizes": [3, 1], "block_repeats": [1, 2]}, {"seq": 20}),
    "one block": ("FunnelModel", BASE | {"block_sizes": [3]}),
    "no decoder": ("FunnelModel", BASE | {"num_decoder_layers": 0}),
    "five blocks": ("FunnelModel", BASE | {"block_sizes": [1, 1, 1, 1, 1]}, {"seq": 40}),
    "classifier": ("FunnelForSequenceClassification", BASE | {"num_labels": 5}, {"idle": IDLE, "real": pooled(2)}),
    "whole classifier": (
        "FunnelForSequenceClassification",
        BASE | {"separate_cls": False, "num_labels": 2},
        {"real": pooled(2, first=False)},
    ),
    "base": ("FunnelBaseModel", BASE | ONE_SEGMENT, {"real": pooled(2)}),
    "base uncut": ("FunnelBaseModel", BASE | {"truncate_seq": False}, {"seq": 12, "real": pooled(2, cut=False)}),
}
