"""A text as the model sees it: ids with the special tokens it was trained with, and a readable name for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.errors import InputRefused, UsageError

if TYPE_CHECKING:
    from llmkit.models.config import ModelConfig
    from llmkit.tokenization.tokenizer import Tokenizer

MAX_TEXT = 1 << 20  # characters; no context is that long, and each token costs an object


@dataclass(frozen=True)
class Tokens:
    """One tokenized text. spans: characters [start, end) of each token, (0, 0) for special ones.

    dropped: tokens beyond the model's context that were left out.
    """

    text: str
    ids: tuple[int, ...]
    names: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    special: tuple[bool, ...]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sinks(self) -> tuple[int, ...]:
        """Positions that attract attention whatever they say: the first one and special tokens."""
        return tuple(i for i in range(len(self)) if i == 0 or self.special[i])


def read_tokens(text: str, tokenizer: Tokenizer, *, encoder: bool, context: int) -> Tokens:
    """Tokenize `text`, cut to the model's `context`, framed by [CLS] and [SEP] or preceded by a begin token.

    A decoder gets its begin token only if the tokenizer's own template puts one there. Raises InputRefused if the
    text has no tokens.
    """
    if len(text) > MAX_TEXT:
        raise InputRefused(
            f"the text has {len(text):,} characters; attention is shown on at most {MAX_TEXT:,}", "give a part of it"
        )
    before, after = [], []
    if encoder:
        before = [i for i in (tokenizer.cls_id,) if i is not None]
        after = [i for i in (tokenizer.sep_id,) if i is not None]
    elif tokenizer.bos_id is not None and tokenizer.backend.encode("a", add_special_tokens=True).ids[:1] == [
        tokenizer.bos_id
    ]:
        before = [tokenizer.bos_id]
    pieces = tokenizer.encode_offsets(text)
    if not pieces:
        raise InputRefused("the text has no tokens", "give --text something to read")
    room = max(1, context - len(before) - len(after))
    dropped = max(0, len(pieces) - room)
    framed = [*((i, 0, 0) for i in before), *pieces[:room], *((i, 0, 0) for i in after)]
    return _tokens(text, framed, tokenizer, dropped)


def read_source(text: str, tokenizer: Tokenizer, *, context: int) -> Tokens:
    """What an encoder-decoder reads: the text as its tokenizer's template frames it, cut to `context`."""
    if not text or len(text) > MAX_TEXT:
        raise InputRefused(f"the text has {len(text):,} characters; 1 to {MAX_TEXT:,} can be shown", "give another")
    encoding = tokenizer.backend.encode(text, add_special_tokens=True)
    framed = [(i, a, b) for i, (a, b) in zip(encoding.ids, encoding.offsets, strict=True)]
    if encoding.ids == tokenizer.encode(text) and tokenizer.eos_id is not None:
        framed.append((tokenizer.eos_id, 0, 0))
    return _tokens(text, framed[:context], tokenizer, dropped=max(0, len(framed) - context))


def read_target(text: str, tokenizer: Tokenizer, config: ModelConfig) -> Tokens:
    """What its decoder is given while it writes `text`: the start token, then all tokens of it."""
    start = next(
        (i for i in (getattr(config, "decoder_start_id", None), config.bos_id, config.pad_id) if i is not None), 0
    )
    framed = [(start, 0, 0), *tokenizer.encode_offsets(text)]
    return _tokens(text, framed[: config.max_seq_len], tokenizer)


def _tokens(text: str, framed: list[tuple[int, int, int]], tokenizer: Tokenizer, dropped: int = 0) -> Tokens:
    special = tokenizer.special_ids
    return Tokens(
        text,
        tuple(i for i, _, _ in framed),
        tuple(token_name(tokenizer, i) for i, _, _ in framed),
        tuple((a, b) for _, a, b in framed),
        tuple(i in special for i, _, _ in framed),
        dropped,
    )


def token_name(tokenizer: Tokenizer, token_id: int) -> str:
    """A token for people: its text, `⟨E2 80⟩` for bytes that are no whole character, special tokens as spelled."""
    spelled = tokenizer.token(token_id)
    if token_id in tokenizer.special_ids:
        return spelled
    if tokenizer.is_lossless:
        data = tokenizer.decode_bytes([token_id])
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return f"⟨{data.hex(' ').upper()}⟩"
    return spelled.replace("▁", " ")


def find_query(asked: str, tokens: Tokens) -> tuple[int, int]:
    """The position that `--query` means, a number or a word, and how many positions match.

    A word matches tokens of that text, else the last token of each place where it stands in the text; the last match
    is taken, since it has the most to look at. Raises UsageError naming the legal range or the nearest words.
    """
    if asked.strip().lstrip("-").isdigit():
        position = int(asked)
        if not 0 <= position < len(tokens):
            raise UsageError(f"--query {position} is not a position", f"the text has positions 0 to {len(tokens) - 1}")
        return position, 1
    word = asked.strip().casefold()
    found = [i for i, name in enumerate(tokens.names) if word and name.strip().casefold() == word]
    if not found and word:
        folded = tokens.text.casefold()
        start = folded.find(word)
        while start >= 0:
            inside = [i for i, (a, b) in enumerate(tokens.spans) if a < start + len(word) and b > start and b > a]
            found += inside[-1:]
            start = folded.find(word, start + 1)
    if not found:
        from llmkit.suggest import did_you_mean

        near = did_you_mean(asked.strip(), {name.strip() for name in tokens.names if name.strip()})
        raise UsageError(f"--query {asked!r} is not in the text", near or "give a word of the text or a position")
    return found[-1], len(found)
