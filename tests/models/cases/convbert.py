"""ConvBERT with uncomfortable settings."""

BASE = {
    "vocab_size": 53,
    "hidden_size": 24,
    "embedding_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 36,
    "max_position_embeddings": 80,
    "conv_kernel_size": 5,
}
NARROW = BASE | {"embedding_size": 13}

CASES = {
    "plain": ("ConvBertForMaskedLM", BASE),
    "narrow": ("ConvBertForMaskedLM", NARROW | {"hidden_act": "relu", "pad_token_id": 0}),
    "wide embeddings": ("ConvBertForMaskedLM", BASE | {"embedding_size": 31, "tie_word_embeddings": False}),
    "grouped": ("ConvBertForMaskedLM", BASE | {"num_groups": 3, "num_hidden_layers": 3, "type_vocab_size": 4}),
    "one head": ("ConvBertModel", BASE | {"num_attention_heads": 3, "head_ratio": 5}),
    "heads that are left over": ("ConvBertModel", BASE | {"num_attention_heads": 5, "num_groups": 2}),
    "every head": ("ConvBertModel", BASE | {"num_attention_heads": 2, "head_ratio": 1, "conv_kernel_size": 3}),
    "kernel beyond the text": ("ConvBertForMaskedLM", BASE | {"conv_kernel_size": 31, "num_hidden_layers": 1}),
    "several blocks": ("ConvBertModel", BASE | {"conv_kernel_size": 9}, {"seq": 53}),
    "whole blocks": ("ConvBertModel", NARROW | {"layer_norm_eps": 1e-3}, {"seq": 32}),
    "classifier": (
        "ConvBertForSequenceClassification",
        BASE | {"num_labels": 5, "classifier_dropout": 0.3, "hidden_act": "silu"},
    ),
    "regression": ("ConvBertForSequenceClassification", NARROW | {"num_labels": 1}),
    "token classifier": ("ConvBertForTokenClassification", BASE | {"num_labels": 3}),
    "span": ("ConvBertForQuestionAnswering", BASE | {"hidden_act": "gelu_new", "num_groups": 2}),
}
