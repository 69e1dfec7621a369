"""Switch Transformers with uncomfortable settings."""

BASE = {"vocab_size": 53, "d_model": 18, "d_kv": 5, "d_ff": 23, "num_layers": 4, "num_decoder_layers": 3}
BASE |= {"num_heads": 3, "decoder_start_token_id": 0, "num_experts": 3}
BASE |= {"num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 1}
ALL = {"num_layers": 2, "num_decoder_layers": 2, "num_sparse_encoder_layers": 2, "num_sparse_decoder_layers": 2}

CASES = {
    "plain": ("SwitchTransformersForConditionalGeneration", BASE),
    "crowded": ("SwitchTransformersForConditionalGeneration", BASE | {"expert_capacity": 3, "num_experts": 2}),
    "all sparse": (
        "SwitchTransformersForConditionalGeneration",
        BASE | ALL | {"router_bias": True, "dense_act_fn": "gelu_new", "expert_capacity": 1},
    ),
    "untied": (
        "SwitchTransformersForConditionalGeneration",
        BASE | {"tie_word_embeddings": False, "num_experts": 5, "router_jitter_noise": 0.3},
    ),
    "mostly dense": (
        "SwitchTransformersForConditionalGeneration",
        BASE | {"num_sparse_encoder_layers": 0, "num_sparse_decoder_layers": 4, "layer_norm_epsilon": 1e-2},
    ),
    "three of five": (
        "SwitchTransformersForConditionalGeneration",
        BASE | {"num_layers": 5, "encoder_sparse_step": 3, "num_decoder_layers": 1, "num_sparse_decoder_layers": 1},
        {"seq": 31},
    ),
    "backbone": ("SwitchTransformersModel", BASE | {"expert_capacity": 4, "router_ignore_padding_tokens": True}),
    "untied backbone": ("SwitchTransformersModel", BASE | {"tie_word_embeddings": False}),
    "encoder": (
        "SwitchTransformersEncoderModel",
        BASE | {"expert_capacity": 2, "relative_attention_num_buckets": 8, "relative_attention_max_distance": 6},
    ),
}
