"""Special tokens: which a new tokenizer gets, and which role each plays in one that was read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

ROLES = ("pad", "unk", "cls", "sep", "mask", "bos", "eos")

# algorithm -> role -> token, in the order of their ids. Two roles may share a token.
BY_ALGORITHM: dict[str, dict[str, str]] = {
    "bpe": {"eos": "<|endoftext|>", "bos": "<|endoftext|>", "pad": "<|pad|>"},
    "char": {"eos": "<|endoftext|>", "bos": "<|endoftext|>", "pad": "<|pad|>", "unk": "<|unk|>"},
    "wordpiece": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "unigram": {"pad": "<pad>", "unk": "<unk>", "bos": "<s>", "eos": "</s>"},
}

# Well-known spellings, most specific first, for files that do not say.
_KNOWN: dict[str, tuple[str, ...]] = {
    "pad": ("<|pad|>", "[PAD]", "<pad>", "<|finetune_right_pad_id|>"),
    "unk": ("[UNK]", "<unk>", "<|unk|>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
    "bos": ("<|begin_of_text|>", "<s>", "<|endoftext|>", "<|startoftext|>"),
    "eos": ("<|end_of_text|>", "</s>", "<|endoftext|>", "<|eot_id|>"),
}


def roles_for(algorithm: str, extra: Iterable[str] = ()) -> dict[str, str]:
    """Roles of a tokenizer to be trained; `extra` tokens such as [MASK] take the role their spelling is known for."""
    roles = dict(BY_ALGORITHM[algorithm])
    for token in extra:
        for role, names in _KNOWN.items():
            if token in names:
                roles.setdefault(role, token)
    return roles


def guess_roles(added: Iterable[str], config: Mapping[str, object]) -> dict[str, str]:
    """Roles from a tokenizer_config.json, and for those it leaves out from well-known spellings among `added`."""
    present = set(added)
    roles: dict[str, str] = {}
    for role in ROLES:
        value = config.get(f"{role}_token")
        if isinstance(value, Mapping):
            value = value.get("content")
        if isinstance(value, str):
            roles[role] = value
        elif not config.get("tokenizer_class"):
            found = next((name for name in _KNOWN[role] if name in present), None)
            if found is not None:
                roles[role] = found
    return roles


def tokenizer_config(roles: Mapping[str, str]) -> dict[str, object]:
    """What tokenizer_config.json says, for transformers' AutoTokenizer."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": roles[role] for role in ROLES if role in roles},
    }
