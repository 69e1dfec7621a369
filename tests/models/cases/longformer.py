"""Longformer with uncomfortable settings."""

import torch

BASE = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 180,
    "attention_window": 4,
}
WINDOWS = BASE | {"attention_window": [4, 12, 6], "num_hidden_layers": 3}


def some_global(generator, batch):
    """The first token of the first row, the second and the last but one of all, a few others, some of them padding."""
    ids = batch["input_ids"]
    chosen = torch.rand(ids.shape, generator=generator) < 0.1
    chosen[:, [1, -2]] = True
    chosen[1, 2:5] = True
    chosen[:, 0] = torch.tensor([True, False, False])
    return {"global_attention_mask": chosen.long()}


def question(generator, batch, separator=2):
    """Questions of 3, 5 and 1 tokens, separated twice and ended once."""
    ids = batch["input_ids"].clone()
    ids[ids == separator] = 9
    for row, end in enumerate((3, 5, 1)):
        ids[row, [end, end + 1, -1]] = separator
    return {"input_ids": ids}


def other_question(generator, batch):
    return question(generator, batch, 7)


def told(generator, batch):
    return question(generator, batch) | some_global(generator, batch)


GLOBAL = {"extra": some_global}
# Classified by its first token, a global one, a text does not need what other tokens would gather in the last layer.

CASES = {
    "plain": ("LongformerForMaskedLM", BASE, GLOBAL),
    "windows by layer": ("LongformerForMaskedLM", WINDOWS | {"tie_word_embeddings": False}, GLOBAL | {"seq": 75}),
    "window beyond the text": ("LongformerForMaskedLM", BASE | {"attention_window": 64, "hidden_act": "relu"}, GLOBAL),
    "wide window, long text": ("LongformerModel", BASE | {"attention_window": 78}, GLOBAL | {"seq": 161}),
    "whole blocks": ("LongformerModel", BASE | {"attention_window": 16, "pad_token_id": 0}, GLOBAL | {"seq": 64}),
    "one token over": (
        "LongformerModel",
        BASE | {"num_hidden_layers": 1, "num_attention_heads": 1, "type_vocab_size": 1},
        GLOBAL | {"seq": 33},
    ),
    "padding id 5": ("LongformerForMaskedLM", BASE | {"pad_token_id": 5, "layer_norm_eps": 1e-3}, GLOBAL),
    "classifier": (
        "LongformerForSequenceClassification",
        BASE | {"num_labels": 5},
        {"idle": r"stack\.blocks\.1\.attn\.body\.qkv\..*"},
    ),
    "long classifier": (
        "LongformerForSequenceClassification",
        WINDOWS | {"num_labels": 1},
        {"seq": 50, "idle": r"stack\.blocks\.2\.attn\.body\.qkv\..*"},
    ),
    "classified by others": ("LongformerForSequenceClassification", BASE | {"num_labels": 3}, GLOBAL),
    "token classifier": ("LongformerForTokenClassification", BASE | {"num_labels": 3}, GLOBAL),
    "span": ("LongformerForQuestionAnswering", BASE | {"hidden_act": "gelu_new"}, {"extra": question}),
    "span in a long text": ("LongformerForQuestionAnswering", WINDOWS, {"extra": question, "seq": 75}),
    "told span": ("LongformerForQuestionAnswering", BASE, {"extra": told}),
    "other separator": ("LongformerForQuestionAnswering", BASE | {"sep_token_id": 7}, {"extra": other_question}),
}


def their_maps(output, batch):
    """Dense maps of what the oracle keeps as columns of global tokens, then of a window; and rows of global tokens."""
    rows_by_layer = output.get("global_attentions") or [None] * len(output["attentions"])
    return {"self": [_dense(*maps, batch) for maps in zip(output["attentions"], rows_by_layer, strict=True)]}


def _dense(near, rows, batch):
    n_global = 0 if rows is None else rows.shape[-1]
    n, heads, seq, columns = near.shape
    width = columns - n_global
    dense = near.new_zeros(n, heads, seq, seq + width - 1)
    for query in range(seq):
        dense[:, :, query, query : query + width] = near[:, :, query, n_global:]
    dense = dense[..., width // 2 : width // 2 + seq].clone()
    if n_global:
        # Rows of global tokens and of padding are left empty.
        is_global = (near.sum((1, 3)) == 0) & (batch.get("attention_mask", torch.ones(n, seq)) != 0)
        for row, column, place in [(r, c, p) for r in range(n) for c, p in enumerate(is_global[r].nonzero()[:, 0])]:
            dense[row, :, :, place] = near[row, :, :, column]
        for row, column, place in [(r, c, p) for r in range(n) for c, p in enumerate(is_global[r].nonzero()[:, 0])]:
            dense[row, :, place] = rows[row, :, :seq, column]
    return dense
