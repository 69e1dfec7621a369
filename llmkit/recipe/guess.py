"""Guess which key was meant: by spelling, by the same key in another section, and by the names other toolkits use."""

from __future__ import annotations

from collections.abc import Iterable

from llmkit.suggest import distance, nearest

# Our key <- what nanoGPT, litgpt, torchtune and the Hugging Face trainer call it (last parts of dotted paths).
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "model.family": ("model_type", "arch", "architecture"),
    "model.d_model": ("hidden_size", "n_embd", "dim", "embed_dim"),
    "model.n_layers": ("n_layer", "num_layers", "num_hidden_layers", "layers", "depth"),
    "model.n_heads": ("n_head", "num_heads", "num_attention_heads", "heads"),
    "model.n_kv_heads": ("n_query_groups", "num_key_value_heads", "num_kv_heads"),
    "model.d_ff": ("intermediate_size", "ffn_dim", "hidden_dim"),
    "model.max_seq_len": ("max_position_embeddings", "context_length", "n_positions", "n_ctx"),
    "tokenizer.algorithm": ("tokenizer_type",),
    "tokenizer.vocab_size": ("vocab_size",),
    "data.train": ("dataset", "corpus", "train_file", "train_data", "text_file"),
    "data.validation": ("val", "valid", "dev", "validation_file", "eval_file"),
    "data.validation_fraction": ("val_split_fraction", "val_fraction", "test_size"),
    "objective.name": ("task", "objective_name"),
    "objective.mask_rate": ("mlm_probability", "masking_ratio", "mask_prob"),
    "objective.next_sentence": ("nsp",),
    "train.steps": ("max_steps", "num_steps", "max_iters", "iters", "epochs", "num_train_epochs", "iterations"),
    "train.batch_size": ("batch", "per_device_train_batch_size", "micro_batch_size", "global_batch_size"),
    "train.seq_len": ("block_size", "max_seq_length", "sequence_length", "seq_length", "max_length"),
    "train.accumulate": ("gradient_accumulation_steps", "grad_accum", "accumulation"),
    "train.lr": ("learning_rate", "max_lr", "peak_lr", "base_lr"),
    "train.min_lr": ("lr_min", "final_lr", "min_learning_rate"),
    "train.schedule": ("lr_scheduler", "lr_scheduler_type", "scheduler", "lr_schedule"),
    "train.warmup_steps": ("warmup", "lr_warmup_steps", "warmup_iters", "num_warmup_steps"),
    "train.clip": ("grad_clip", "max_grad_norm", "gradient_clip", "clip_grad"),
    "train.dtype": ("precision", "torch_dtype"),
    "train.optimizer": ("optim",),
    "train.log_every": ("log_interval", "logging_steps", "log_every_n_steps"),
    "train.eval_every": ("eval_interval", "eval_steps"),
    "train.save_every": ("save_interval", "save_steps", "checkpoint_every"),
    "train.keep": ("save_total_limit",),
    "base": ("checkpoint", "pretrained", "base_model", "model_name", "from_pretrained"),
}
_MEANT = {theirs: ours for ours, names in OTHER_NAMES.items() for theirs in names}


def guess_key(path: str, known: Iterable[str], sections: Iterable[str] = ()) -> list[str]:
    """Up to three known dotted keys, or sections for a word without a dot, that `path` may have meant, best first."""
    known = list(known)
    section, _, leaf = path.rpartition(".")
    meant = _MEANT.get(leaf.casefold().replace("-", "_"))
    if meant in known:
        return [meant]
    tops = [*sections, *(k for k in known if "." not in k)]
    near = (nearest(path, tops) if not section else []) or nearest(path, known)
    # The right key in the wrong section, or in none, is the most common mistake.
    same = [k for k in known if "." in k and distance(leaf.casefold(), k.rpartition(".")[2]) <= (len(leaf) > 3)]
    near = [*near, *(k for k in same if k not in near)][:3]
    # Long paths are all somewhat alike: offer only what is about as close as the closest.
    limit = min((distance(path, n) for n in near), default=0) + 1
    return [n for n in near if distance(path, n) <= limit]
