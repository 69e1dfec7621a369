"""XLM-R with uncomfortable settings."""

BASE = {
    "vocab_size": 59,
    "hidden_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 5,
    "intermediate_size": 33,
    "max_position_embeddings": 30,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}

CASES = {
    "masked_lm": ("XLMRobertaForMaskedLM", BASE | {"num_hidden_layers": 3}),
    "untied": ("XLMRobertaForMaskedLM", BASE | {"tie_word_embeddings": False, "pad_token_id": 3}),
    "classifier": ("XLMRobertaForSequenceClassification", BASE | {"num_labels": 4, "type_vocab_size": 2}),
    "token classifier": ("XLMRobertaForTokenClassification", BASE | {"num_labels": 1, "classifier_dropout": 0.2}),
    "span": ("XLMRobertaForQuestionAnswering", BASE | {"pad_token_id": 0, "hidden_act": "quick_gelu"}),
    "backbone": ("XLMRobertaModel", BASE | {"num_hidden_layers": 1}),
}
