"""RoBERTa with uncomfortable settings; 40 rows of positions hold 38 tokens when padding is id 1."""

BASE = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 37,
    "max_position_embeddings": 40,
}
PUBLISHED = {"type_vocab_size": 1, "layer_norm_eps": 1e-5}

CASES = {
    "masked_lm": ("RobertaForMaskedLM", BASE | PUBLISHED),
    "other activation": ("RobertaForMaskedLM", BASE | {"hidden_act": "relu", "num_hidden_layers": 1}),
    "untied": ("RobertaForMaskedLM", BASE | {"tie_word_embeddings": False, "hidden_act": "silu"}),
    "padding is 0": ("RobertaForMaskedLM", BASE | {"pad_token_id": 0, "bos_token_id": 1}),
    "padding is 7": ("RobertaForMaskedLM", BASE | {"pad_token_id": 7, "type_vocab_size": 3}),
    "as long as it gets": ("RobertaForMaskedLM", BASE | PUBLISHED | {"max_position_embeddings": 21}, {"seq": 19}),
    "classifier": ("RobertaForSequenceClassification", BASE | PUBLISHED | {"num_labels": 5, "classifier_dropout": 0.3}),
    "regression": ("RobertaForSequenceClassification", BASE | {"num_labels": 1, "layer_norm_eps": 1e-3}),
    "token classifier": ("RobertaForTokenClassification", BASE | PUBLISHED | {"num_labels": 3}),
    "span": ("RobertaForQuestionAnswering", BASE | PUBLISHED | {"hidden_act": "gelu_new"}),
    "backbone": ("RobertaModel", BASE | {"num_hidden_layers": 3, "num_attention_heads": 1}),
}
