"""Train tokenizers: byte-level BPE, WordPiece, Unigram and single characters; same text, same bytes, always."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from llmkit.errors import InputRefused, UsageError
from llmkit.suggest import did_you_mean
from llmkit.tokenization.byte_input import byte_blocks
from llmkit.tokenization.byte_level import ALPHABET, ASCII_PRETOKEN, BOUNDED_ASCII_PRETOKEN, BOUNDED_PIECE, CHAR_BYTES
from llmkit.tokenization.counting import count_pieces, count_words
from llmkit.tokenization.cuts import slices
from llmkit.tokenization.files import dress_as_bert
from llmkit.tokenization.merges import learn_merges
from llmkit.tokenization.progress import Progress, Silent
from llmkit.tokenization.special import roles_for
from llmkit.tokenization.stream import decoded, running
from llmkit.tokenization.tokenizer import Tokenizer

Algorithm = Literal["bpe", "wordpiece", "unigram", "char"]
Pair = tuple[str, str]
ALGORITHMS: tuple[Algorithm, ...] = ("bpe", "wordpiece", "unigram", "char")
DEFAULT_VOCAB_SIZE = 8192
NEEDS_TEXT = "give a file with text in it"
CONTINUED = "##"  # how WordPiece marks a piece inside a word
MAX_VOCAB_SIZE = 1_000_000
MAX_UNIGRAM_WORD = 64  # characters; Unigram learns from longer words in parts
MAX_ALPHABET = 1000  # characters WordPiece and Unigram keep, the most frequent ones; the rest are unknown


def train(
    texts: Iterable[str] | Sequence[Path],
    *,
    algorithm: str = "bpe",
    vocab_size: int = DEFAULT_VOCAB_SIZE,
    extra_special: Sequence[str] = (),
    lowercase: bool = True,
    wide_mask: bool = False,
    progress: Progress | None = None,
) -> Tokenizer:
    """Learn a tokenizer from texts, or from files of UTF-8 text.

    vocab_size counts everything, special tokens too; a small corpus gives a smaller vocabulary. extra_special: further
    special tokens, such as "[MASK]". lowercase: WordPiece only. progress: called as work goes on.
    wide_mask: the mask of BPE takes the space before it along, as RoBERTa's does, since the word it hides brings one;
    a text with masks in it does then not come back byte for byte.
    Raises UsageError for an impossible request and InputRefused for a corpus without text.
    """
    if algorithm not in ALGORITHMS:
        raise UsageError(
            f"no algorithm {algorithm!r}", did_you_mean(algorithm, ALGORITHMS) or "use " + ", ".join(ALGORITHMS)
        )
    if not 1 <= vocab_size <= MAX_VOCAB_SIZE:
        raise UsageError(f"vocab_size is {vocab_size}", f"use 1 to {MAX_VOCAB_SIZE}")
    roles = roles_for(algorithm, extra_special)
    specials = list(dict.fromkeys([*roles.values(), *extra_special]))
    if algorithm == "wordpiece":  # ids 0..4, as BERT has them
        specials = list(dict.fromkeys([*roles_for("wordpiece").values(), *specials]))
    learn = {"bpe": _bpe, "wordpiece": _wordpiece, "char": _char, "unigram": _unigram}[algorithm]
    backend = learn(_read(texts), vocab_size, specials, progress or Silent(), lowercase)
    wide = roles.get("mask") if wide_mask and algorithm == "bpe" else None
    backend.add_special_tokens(
        [tokenizers.AddedToken(token, special=True, normalized=False, lstrip=token == wide) for token in specials]
    )
    return Tokenizer(backend, roles)


def _read(texts: Iterable[str] | Sequence[Path]) -> Iterator[str]:
    for text in texts:
        if isinstance(text, Path):
            yield from running(decoded(byte_blocks(str(text)), str(text)))
        else:
            yield text


def _words(
    texts: Iterable[str],
    split: Callable[[str], Iterable[str]],
    progress: Progress,
    ascii_cut: re.Pattern[str] = BOUNDED_PIECE,
) -> dict[str, int]:
    """Words and their counts, most frequent first."""
    pieces = count_pieces(texts, progress.read, ascii_cut=ascii_cut)
    words = count_words(pieces, split)
    if not words:
        missing = "no words, only white space," if pieces else "no text"
        raise InputRefused(f"there is {missing} to learn from", NEEDS_TEXT)
    return words


def _learn(
    words: dict[str, int], symbols: list[str], vocab_size: int, n_special: int, progress: Progress, prefix: str = ""
) -> list[Pair]:
    """Extend `symbols` by merges, which drop `prefix` inside a token; return the pairs merged, as symbols."""
    n_symbols = len(symbols)
    total = vocab_size - n_special - n_symbols
    _check_room(n_symbols, vocab_size, n_special)
    pairs: list[Pair] = []

    def on_merge(first: int, second: int, count: int) -> None:
        pairs.append((symbols[first], symbols[second]))
        symbols.append(symbols[first] + symbols[second].removeprefix(prefix))
        progress.merge(len(pairs), total, symbols[-1], count)

    progress.words(len(words))
    learn_merges(words, n_symbols, total, on_merge=on_merge)
    return pairs


def _check_room(n_symbols: int, vocab_size: int, n_special: int) -> None:
    least = n_special + n_symbols
    if vocab_size < least:
        raise UsageError(
            f"a vocabulary of {vocab_size} has no room for {n_symbols} single symbols and {n_special} special tokens",
            f"ask for a vocabulary of {least} or more",
        )


def _bpe(
    texts: Iterable[str], vocab_size: int, specials: list[str], progress: Progress, _: bool
) -> tokenizers.Tokenizer:
    """Byte-level BPE as in GPT-2: 256 byte symbols, so every text can be written and read back."""
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    numbers = bytearray(256)  # byte -> its symbol number: its place in the sorted alphabet
    for number, char in enumerate(ALPHABET):
        numbers[CHAR_BYTES[char]] = number

    def split(text: str) -> list[str]:
        if text.isascii():
            return ASCII_PRETOKEN.findall(text)
        return [text[start:end] for _, (start, end) in pre_tokenizer.pre_tokenize_str(text)]

    counted = _words(texts, split, progress, BOUNDED_ASCII_PRETOKEN)
    words = {word.encode().translate(numbers).decode("latin-1"): n for word, n in counted.items()}
    symbols = list(ALPHABET)
    pairs = _learn(words, symbols, vocab_size, len(specials), progress)
    vocab = {token: i for i, token in enumerate([*specials, *symbols])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=pairs))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    return backend


def _char(
    texts: Iterable[str], vocab_size: int, specials: list[str], progress: Progress, _: bool
) -> tokenizers.Tokenizer:
    """One token per character: the most frequent ones if there is no room for all."""
    counts: Counter[str] = Counter()
    for text in slices(texts):
        counts.update(text)
        progress.read(len(text))
    if not counts:
        raise InputRefused("there is no text to learn from", NEEDS_TEXT)
    room = max(vocab_size - len(specials), 1)
    chars = sorted(sorted(counts, key=lambda c: (-counts[c], c))[:room])
    vocab = {token: i for i, token in enumerate([*chars, *specials])}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<|unk|>"))
    backend.decoder = decoders.Fuse()
    return backend


def _frequent(counts: Counter[str]) -> list[str]:
    return sorted(sorted(counts, key=lambda c: (-counts[c], c))[:MAX_ALPHABET])


def _wordpiece(
    texts: Iterable[str], vocab_size: int, specials: list[str], progress: Progress, lowercase: bool
) -> tokenizers.Tokenizer:
    """WordPiece as BERT uses it (pieces inside a word start with ##), its vocabulary learned by merges."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    pre_tokenizer = pre_tokenizers.BertPreTokenizer()

    def split(text: str) -> list[str]:
        return [word for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text))]

    words = _words(texts, split, progress)
    firsts: Counter[str] = Counter()
    later: Counter[str] = Counter()
    for word, n in words.items():
        firsts[word[0]] += n
        for char in word[1:]:
            later[char] += n
    alphabet = set(_frequent(firsts + later))
    symbols = [*sorted(alphabet), *(CONTINUED + char for char in sorted(alphabet & later.keys()))]
    number = {symbol: chr(i) for i, symbol in enumerate(symbols)}
    coded = {
        number[word[0]] + "".join([number[CONTINUED + char] for char in word[1:]]): n
        for word, n in words.items()
        if alphabet.issuperset(word)  # a word with any other character is unknown as a whole
    }
    _learn(coded, symbols, vocab_size, len(specials), progress, CONTINUED)
    vocab: dict[str, int] = {}
    for token in [*specials, *symbols]:  # two merges can spell the same token
        vocab.setdefault(token, len(vocab))
    backend = tokenizers.Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    dress_as_bert(backend, vocab, lowercase=lowercase)
    return backend


def _unigram(
    texts: Iterable[str], vocab_size: int, specials: list[str], progress: Progress, _: bool
) -> tokenizers.Tokenizer:
    """Unigram language model over subwords, as T5 uses it: words start with ▁, spacing is not kept."""
    from llmkit.tokenization.unigram import learn_pieces  # numpy, which only this needs

    normalizer = normalizers.NFKC()
    pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])

    def split(text: str) -> Iterator[str]:
        for word, _ in pre_tokenizer.pre_tokenize_str(normalizer.normalize_str(text)):
            for at in range(0, len(word), MAX_UNIGRAM_WORD):
                yield word[at : at + MAX_UNIGRAM_WORD]

    words = _words(texts, split, progress)
    chars: Counter[str] = Counter()
    for word, n in words.items():
        for char in word:
            chars[char] += n
    room = vocab_size - len(specials)
    alphabet = _frequent(chars)
    _check_room(len(alphabet), vocab_size, len(specials))
    known = set(alphabet)
    words = {word: n for word, n in words.items() if known.issuperset(word)}
    progress.words(len(words))
    pieces = learn_pieces(words, alphabet, room, on_fit=progress.fit)
    vocab = [*((token, 0.0) for token in specials), *pieces]
    backend = tokenizers.Tokenizer(models.Unigram(vocab=vocab, unk_id=specials.index("<unk>"), byte_fallback=False))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", specials.index("</s>"))]
    )
    return backend
