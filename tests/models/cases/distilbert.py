"""DistilBERT with uncomfortable settings."""

BASE = {"vocab_size": 53, "dim": 24, "n_layers": 2, "n_heads": 3, "hidden_dim": 37, "max_position_embeddings": 29}

CASES = {
    "masked_lm": ("DistilBertForMaskedLM", BASE),
    "other activation": ("DistilBertForMaskedLM", BASE | {"activation": "relu", "n_layers": 1, "n_heads": 1}),
    "untied": ("DistilBertForMaskedLM", BASE | {"tie_word_embeddings": False, "activation": "gelu_new"}),
    "sines at first": ("DistilBertForMaskedLM", BASE | {"sinusoidal_pos_embds": True, "dim": 21, "n_heads": 7}),
    "as long as it gets": ("DistilBertForMaskedLM", BASE, {"seq": 29}),
    "classifier": ("DistilBertForSequenceClassification", BASE | {"num_labels": 5, "seq_classif_dropout": 0.4}),
    "regression": ("DistilBertForSequenceClassification", BASE | {"num_labels": 1, "activation": "silu"}),
    "token classifier": ("DistilBertForTokenClassification", BASE | {"num_labels": 3, "n_layers": 3}),
    "span": ("DistilBertForQuestionAnswering", BASE | {"qa_dropout": 0.0, "pad_token_id": 4}),
    "backbone": ("DistilBertModel", BASE | {"n_layers": 3}),
}
