"""BERT with uncomfortable settings."""

BASE = {
    "vocab_size": 53,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 37,
}
BASE |= {"max_position_embeddings": 40}

CASES = {
    "pretraining": ("BertForPreTraining", BASE),
    "masked_lm": ("BertForMaskedLM", BASE | {"hidden_act": "gelu_new"}),
    "untied": ("BertForMaskedLM", BASE | {"tie_word_embeddings": False, "hidden_act": "relu"}),
    "untied pretraining": ("BertForPreTraining", BASE | {"tie_word_embeddings": False}),
    "five segments": ("BertForPreTraining", BASE | {"type_vocab_size": 5, "layer_norm_eps": 1e-3}),
    "one wide head": ("BertForMaskedLM", BASE | {"num_attention_heads": 1, "hidden_act": "silu"}),
    "classifier": ("BertForSequenceClassification", BASE | {"num_labels": 5, "classifier_dropout": 0.3}),
    "regression": ("BertForSequenceClassification", BASE | {"num_labels": 1}),
    "backbone": ("BertModel", BASE | {"num_hidden_layers": 3}),
    "token classifier": ("BertForTokenClassification", BASE | {"num_labels": 3}),
    "span": ("BertForQuestionAnswering", BASE | {"hidden_act": "gelu_new"}),
    "next sentence": ("BertForNextSentencePrediction", BASE),
}
