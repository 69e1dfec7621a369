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


RECIPES = {
    "causal": recipe("name: causal", _GPT),
    "masked": recipe("name: masked, next_sentence: true", _BERT, tokenizer="wordpiece", seq_len=32),
    "masked-muon": recipe("name: masked, long_share: 0.5", _BERT, tokenizer="wordpiece", train=", optimizer: muon"),
}
