"""ELECTRA with uncomfortable settings."""

BASE = {
    "vocab_size": 53,
    "embedding_size": 13,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 29,
}

CASES = {
    "discriminator": ("ElectraForPreTraining", BASE),
    "other discriminator": ("ElectraForPreTraining", BASE | {"hidden_act": "relu", "type_vocab_size": 4}),
    "generator": ("ElectraForMaskedLM", BASE | {"hidden_act": "silu", "num_hidden_layers": 1}),
    "untied": ("ElectraForMaskedLM", BASE | {"tie_word_embeddings": False}),
    "as wide as the blocks": ("ElectraForMaskedLM", BASE | {"embedding_size": 24, "layer_norm_eps": 1e-3}),
    "wider than the blocks": ("ElectraForPreTraining", BASE | {"embedding_size": 31}, {"seq": 29}),
    "classifier": ("ElectraForSequenceClassification", BASE | {"num_labels": 5, "classifier_dropout": 0.3}),
    "regression": ("ElectraForSequenceClassification", BASE | {"num_labels": 1, "hidden_act": "relu"}),
    "token classifier": ("ElectraForTokenClassification", BASE | {"num_labels": 3, "num_attention_heads": 1}),
    "span": ("ElectraForQuestionAnswering", BASE | {"type_vocab_size": 1}),
    "backbone": ("ElectraModel", BASE | {"num_hidden_layers": 3, "summary_type": "mean"}),
}
