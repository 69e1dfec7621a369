"""Reformer with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_attention_heads": 3, "attention_head_size": 5}
BASE |= {"feed_forward_size": 37, "max_position_embeddings": 48, "axial_pos_shape": [6, 8]}
BASE |= {"axial_pos_embds_dim": [10, 14], "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4, "hash_seed": 3}
BOTH, LOCAL, LSH = ({"attn_layers": kinds} for kinds in (["local", "lsh", "lsh"], ["local"] * 2, ["lsh"] * 2))
READER = {"is_decoder": True}
# Padding on the right is seen by no token, and hashed layers sort the text by it all the same.
LEFT = {"paddings": ("left",)}

CASES = {
    "causal": ("ReformerModelWithLMHead", BASE | BOTH | READER, LEFT),
    "causal hashes": (
        "ReformerModelWithLMHead",
        BASE | BOTH | READER | {"num_hashes": 3, "num_buckets": 2, "lsh_num_chunks_before": 6},
        LEFT,
    ),
    "causal local": ("ReformerModelWithLMHead", BASE | LOCAL | READER | {"local_num_chunks_before": 2}),
    "causal short": (
        "ReformerModelWithLMHead",
        BASE | BOTH | READER | {"local_attn_chunk_length": 9, "lsh_attn_chunk_length": 8},
        {"seq": 8},
    ),
    "masked_lm": ("ReformerForMaskedLM", BASE | BOTH | {"num_hashes": 3, "num_buckets": 4, "hidden_act": "gelu"}),
    "masked local": ("ReformerForMaskedLM", BASE | LOCAL | {"local_num_chunks_after": 1}),
    "wide window": (
        "ReformerForMaskedLM",
        BASE | BOTH | {"lsh_num_chunks_before": 2, "lsh_num_chunks_after": 5, "local_num_chunks_before": 5},
    ),
    "own chunk": ("ReformerForMaskedLM", BASE | BOTH | {"lsh_num_chunks_before": 0, "local_num_chunks_before": 0}),
    "pairs of buckets": ("ReformerModel", BASE | LSH | {"num_buckets": [4, 6], "num_hashes": 2}, {"seq": 24}),
    "two lengths": (
        "ReformerModel",
        BASE | BOTH | {"local_attn_chunk_length": 6, "axial_pos_embds": False, "num_hashes": 2},
        {"seq": 29},
    ),
    "one chunk of two": ("ReformerModel", BASE | BOTH | {"lsh_attn_chunk_length": 16, "hidden_act": "silu"}),
    "classifier": ("ReformerForSequenceClassification", BASE | BOTH | {"num_labels": 5, "layer_norm_eps": 1e-3}),
    "span": ("ReformerForQuestionAnswering", BASE | LSH | {"attention_head_size": 16, "num_hashes": 4}, {"seq": 16}),
}


def their_maps(output, batch):
    """Of layers that cut the text up it shows the pieces, in an order that it does not tell."""
    seq = batch["input_ids"].shape[1]
    return {"self": [m[:, :, :seq, :seq] if m.dim() == 4 else None for m in output["attentions"]]}
