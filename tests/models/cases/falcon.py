"""Falcon with uncomfortable settings."""

BASE = {"vocab_size": 53, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3}
BASE |= {"max_position_embeddings": 40, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = BASE | {"new_decoder_architecture": True, "num_attention_heads": 6, "num_kv_heads": 2}
RW = BASE | {"alibi": True, "bias": True, "multi_query": False, "parallel_attn": False, "ffn_hidden_size": 37}


def _rope(**parameters):
    return {"rope_parameters": {"rope_theta": 500.0, **parameters}}


CASES = {
    "7b": ("FalconForCausalLM", BASE),
    "40b": ("FalconForCausalLM", GROUPED),
    "11b": ("FalconForCausalLM", GROUPED | {"num_ln_in_parallel_attn": 1, "ffn_hidden_size": 37}),
    "rw": ("FalconForCausalLM", RW),
    "rw of many heads, long": (
        "FalconForCausalLM",
        RW | {"num_attention_heads": 12, "hidden_size": 48, "layer_norm_epsilon": 1e-2},
        {"seq": 310},
    ),
    "rw without biases": ("FalconForCausalLM", RW | {"bias": False, "num_hidden_layers": 3, "activation": "gelu_new"}),
    "narrow odd heads": ("FalconForCausalLM", RW | {"hidden_size": 15, "num_attention_heads": 5}),
    "alibi in groups": ("FalconForCausalLM", GROUPED | {"alibi": True, "bias": True}),
    "alibi multi query": ("FalconForCausalLM", BASE | {"alibi": True, "activation": "relu"}),
    "rotary in sequence": ("FalconForCausalLM", BASE | {"parallel_attn": False, "tie_word_embeddings": False}),
    "a key for each query": ("FalconForCausalLM", BASE | {"multi_query": False, "bias": True, "num_hidden_layers": 1}),
    "new with one key and norm": (
        "FalconForCausalLM",
        GROUPED | {"num_kv_heads": 1, "num_ln_in_parallel_attn": 1, "alibi": True},
    ),
    "new with one key": ("FalconForCausalLM", GROUPED | {"num_kv_heads": 1, "activation": "silu"}),
    "new with all keys": ("FalconForCausalLM", GROUPED | {"num_kv_heads": 6, "bias": True}),
    "new with all keys, one norm": ("FalconForCausalLM", GROUPED | {"num_kv_heads": 6, "num_ln_in_parallel_attn": 1}),
    "linear": ("FalconForCausalLM", BASE | _rope(rope_type="linear", factor=3.0)),
    "dynamic beyond": (
        "FalconForCausalLM",
        GROUPED | {"hidden_size": 36, "max_position_embeddings": 8} | _rope(rope_type="dynamic", factor=2.0),
    ),
    "classifier": ("FalconForSequenceClassification", BASE | {"num_labels": 4, "pad_token_id": 0}),
    "rw classifier": ("FalconForSequenceClassification", RW | {"num_labels": 4, "pad_token_id": 0}),
    "token classifier": ("FalconForTokenClassification", BASE | {"num_labels": 3, "classifier_dropout": 0.3}),
    "span": ("FalconForQuestionAnswering", GROUPED | {"hidden_dropout": 0.1}),
    "backbone": ("FalconModel", RW | {"attention_dropout": 0.1}),
}

# Frequencies change as the text grows to 13.
MOVING = ("dynamic beyond",)


def mend(model):
    """Asked for its attention, the oracle adds ALiBi twice: to the scores, and in a mask that holds it already."""

    def once(module, arguments, keywords):
        if keywords.get("alibi") is not None:
            keywords["alibi"] = keywords["alibi"] * 0
        return arguments, keywords

    for name, module in model.named_modules():
        if name.endswith("self_attention"):
            module.register_forward_pre_hook(once, with_kwargs=True)
