"""Tiny recipes that a campaign can run in a second, one per objective, each with everything that makes a resume hard:
dropout, accumulated batches, evaluations, several epochs."""

from __future__ import annotations

SAVE_EVERY = 3
STEPS = 24

_GPT = "{family: gpt2, d_model: 32, n_layers: 2, n_heads: 2, max_seq_len: 16, dropout: 0.1, attention_dropout: 0.1}"
_BERT = "{family: bert, d_model: 32, n_layers: 1, n_heads: 2, max_seq_len: 32, dropout: 0.1, attention_dropout: 0.1}"


def recipe(
    objective: str, model: str, *, tokenizer: str = "char", data: str = "", seq_len: int = 16, train: str = ""
) -> str:
    """A recipe whose run is called victim."""
    return f"""
name: victim
model: {model}
tokenizer: {{algorithm: {tokenizer}, vocab_size: 400}}
data: {{train: stories, stories: 40, validation_fraction: 0.05{data}}}
objective: {{{objective}}}
train:
  {{steps: {STEPS}, batch_size: 4, seq_len: {seq_len}, accumulate: 2, lr: 3.0e-3, warmup_steps: 3, log_every: 1,
   eval_every: 8, save_every: {SAVE_EVERY}, keep: 2, threads: 1, device: cpu, seed: 5{train}}}
"""


_SMALL = "d_model: 32, n_layers: 1, n_heads: 2, d_ff: 64, dropout: 0.1"
_WORDS = "wordpiece"
RECIPES = {
    "causal": recipe("name: causal", _GPT),
    "masked": recipe("name: masked, next_sentence: true", _BERT, tokenizer=_WORDS, seq_len=32),
    "masked-muon": recipe("name: masked, long_share: 0.5", _BERT, tokenizer=_WORDS, train=", optimizer: muon"),
    "sentence-order": recipe(
        "name: masked, sentence_order: true, whole_words: true, static_masks: 2",
        f"{{family: albert, {_SMALL}, max_seq_len: 32}}",
        tokenizer=_WORDS,
    ),
    "replaced_token": recipe(
        "name: replaced_token", f"{{family: electra, {_SMALL}, max_seq_len: 32}}", tokenizer=_WORDS
    ),
    "translation_masked": recipe(
        "name: translation_masked",
        "{family: xlm, d_model: 32, n_layers: 1, n_heads: 2, dropout: 0.1, max_seq_len: 32}",
        tokenizer=_WORDS,
        data=", pair: mirror",
        seq_len=32,
    ),
    "permutation": recipe("name: permutation", f"{{family: xlnet, {_SMALL}, max_seq_len: 32}}", tokenizer="unigram"),
    "prefix": recipe("name: prefix", f"{{family: llama, {_SMALL}, max_seq_len: 16}}"),
    "control": recipe("name: control", f"{{family: ctrl, {_SMALL}, max_seq_len: 16}}"),
    "recurrent": recipe("name: recurrent", f"{{family: transformer_xl, {_SMALL}, mem_len: 16}}"),
    "span_corruption": recipe("name: span_corruption", f"{{family: t5, {_SMALL}}}", tokenizer="unigram", seq_len=32),
    "routers": recipe(
        "name: span_corruption",
        f"{{family: switch_transformers, {_SMALL.replace('n_layers: 1', 'n_layers: 2')}, n_experts: 4}}",
        tokenizer="unigram",
        seq_len=32,
    ),
    "denoising": recipe("name: denoising", f"{{family: bart, {_SMALL}, max_seq_len: 64}}", tokenizer="bpe", seq_len=32),
    "gap_sentences": recipe(
        "name: gap_sentences", f"{{family: pegasus, {_SMALL}, max_seq_len: 64}}", tokenizer="bpe", seq_len=48
    ),
    "future_ngram": recipe(
        "name: future_ngram", f"{{family: prophetnet, {_SMALL}, max_seq_len: 64}}", tokenizer=_WORDS, seq_len=48
    ),
    "seq2seq": recipe(
        "name: seq2seq, label_smoothing: 0.1",
        f"{{family: marian, {_SMALL}, max_seq_len: 64}}",
        tokenizer="bpe",
        data=", pair: mirror",
        seq_len=32,
        train=", schedule: inverse_sqrt",
    ),
    "distillation": recipe(
        "name: distillation, teacher: teacher, from_teacher: false",
        f"{{family: distilbert, {_SMALL}, max_seq_len: 32}}",
        tokenizer=_WORDS,
    ),
}
# What must be trained first, in the same store, and under which name.
TEACHERS = {"distillation": ("teacher", RECIPES["masked"])}
