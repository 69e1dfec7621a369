"""ALBERT with uncomfortable settings."""

BASE = {
    "vocab_size": 53,
    "embedding_size": 13,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 29,
}

CASES = {
    "pretraining": ("AlbertForPreTraining", BASE),
    "masked_lm": ("AlbertForMaskedLM", BASE | {"hidden_act": "relu"}),
    "untied": ("AlbertForMaskedLM", BASE | {"tie_word_embeddings": False, "num_hidden_layers": 1}),
    "untied pretraining": ("AlbertForPreTraining", BASE | {"tie_word_embeddings": False, "type_vocab_size": 3}),
    "two groups": ("AlbertForMaskedLM", BASE | {"num_hidden_groups": 2}),
    "three groups of two": ("AlbertForPreTraining", BASE | {"num_hidden_groups": 3, "inner_group_num": 2}),
    "one group of three": ("AlbertForMaskedLM", BASE | {"inner_group_num": 3, "num_hidden_layers": 2}),
    "as wide as the blocks": ("AlbertForMaskedLM", BASE | {"embedding_size": 24, "layer_norm_eps": 1e-3}),
    "classifier": ("AlbertForSequenceClassification", BASE | {"num_labels": 5, "classifier_dropout_prob": 0.3}),
    "regression": ("AlbertForSequenceClassification", BASE | {"num_labels": 1, "embedding_size": 31}),
    "token classifier": ("AlbertForTokenClassification", BASE | {"num_labels": 3, "num_attention_heads": 1}),
    "span": ("AlbertForQuestionAnswering", BASE | {"type_vocab_size": 1}, {"seq": 29}),
    "backbone": ("AlbertModel", BASE | {"num_hidden_layers": 5, "num_hidden_groups": 3}),
}
