"""Encode through a table of pieces seen before: natural text repeats itself, so most pieces are looked up.

Exact only where a piece's ids do not depend on its surroundings; `is_piecewise` says for which tokenizers that holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import tokenizers

from llmkit.tokenization.byte_level import ASCII_PRETOKEN, PIECE

# Finer cuts there are, but these characters are white space to every engine, before and after any normalizer.
WORD = re.compile("[^ \t\n\r]+")
MAX_TABLE = 1 << 18  # pieces; some 60 MB
MAX_PIECE = 256  # longer pieces hardly repeat
_BATCH = 1 << 10  # long pieces given to `tokenizers` at a time


def is_piecewise(spec: Mapping[str, Any]) -> bool:
    """Whether the parsed tokenizer.json is byte-level BPE that cuts text as GPT-2 does and changes nothing before."""
    model, cut = spec["model"], spec.get("pre_tokenizer") or {}
    return (
        model.get("type") == "BPE"
        and not model.get("dropout")
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        and spec.get("normalizer") is None
        and cut.get("type") == "ByteLevel"
        and not cut.get("add_prefix_space", True)
        and bool(cut.get("use_regex", True))
    )


def is_wordwise(spec: Mapping[str, Any], added: Iterable[tokenizers.AddedToken]) -> bool:
    """Whether it is WordPiece or Unigram that drops white space, so that words are encoded one by one.

    Added tokens that are sought after the text was normalized could be spelled otherwise before.
    """
    model, normalizer, cut = spec["model"], spec.get("normalizer") or {}, spec.get("pre_tokenizer") or {}
    parts = cut.get("pretokenizers") or [cut]
    kinds = (model.get("type"), normalizer.get("type"), *(part.get("type") for part in parts))
    return (
        kinds
        in (("WordPiece", "BertNormalizer", "BertPreTokenizer"), ("Unigram", "NFKC", "WhitespaceSplit", "Metaspace"))
        and parts[-1].get("prepend_scheme", "always") == "always"
        and not any(token.normalized for token in added)
    )


class PieceEncoder:
    """Encodes texts with a `tokenizers` object of which `is_piecewise` holds; equal to its own `encode`, but faster.

    words: it is one of which `is_wordwise` holds instead.
    """

    def __init__(self, backend: tokenizers.Tokenizer, *, words: bool = False) -> None:
        self._backend = backend
        # Pre-tokens repeat more often than pieces do, but only on ASCII are they sure to be the library's own.
        self._ascii_cut, self._cut = (WORD, WORD) if words else (ASCII_PRETOKEN, PIECE)
        self._table: dict[str, list[int]] = {}
        # Added tokens are found before text is cut; a text that might hold one goes the long way.
        self._starts = sorted({token.content[:2] for token in backend.get_added_tokens_decoder().values()})

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, special tokens in it included, none added."""
        if self._may_hold_added("".join(texts)):
            return [
                self._encode_slowly(text) if self._may_hold_added(text) else self._encode([text])[0] for text in texts
            ]
        return self._encode(texts)

    def _may_hold_added(self, text: str) -> bool:
        return any(start in text for start in self._starts)

    def _encode_slowly(self, text: str) -> list[int]:
        return list(self._backend.encode(text, add_special_tokens=False).ids)

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        cut = [(self._ascii_cut if text.isascii() else self._cut).findall(text) for text in texts]
        ids_of = self._table.__getitem__
        try:
            return [list(chain.from_iterable(map(ids_of, pieces))) for pieces in cut]
        except KeyError:
            long = self._learn(dict.fromkeys(chain.from_iterable(cut)))
            encoded = [list(chain.from_iterable(map(ids_of, pieces))) for pieces in cut]
            for piece in long:
                del self._table[piece]
            return encoded

    def _learn(self, pieces: Iterable[str]) -> list[str]:
        """Put the new ones of these distinct pieces into the table; return those too long to stay there."""
        table = self._table
        if len(table) > MAX_TABLE:
            table.clear()
        new = [piece for piece in pieces if piece not in table]
        for at in range(0, len(new), _BATCH):
            batch = new[at : at + _BATCH]
            for piece, encoding in zip(
                batch, self._backend.encode_batch_fast(batch, add_special_tokens=False), strict=True
            ):
                table[piece] = encoding.ids
        return [piece for piece in new if len(piece) > MAX_PIECE]
