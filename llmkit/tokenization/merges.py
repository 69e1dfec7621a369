"""Learn merges from word counts: byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909), incrementally.

A word is a string with one character per symbol, so that merging a pair inside a word is one `str.replace`, which is
what makes this fast in plain Python. Symbol numbers are code points; they are not the text's characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush

MAX_SYMBOLS = 0x110000  # code points there are


def learn_merges(
    words: Mapping[str, int],
    n_symbols: int,
    n_merges: int,
    *,
    min_count: int = 2,
    on_merge: Callable[[int, int, int], None] | None = None,
) -> list[tuple[int, int]]:
    """Merge the most frequent pair, again and again.

    words: symbol strings -> how often they occur; n_symbols: symbols in use, numbered from 0. Merge k makes symbol
    n_symbols + k. Of equally frequent pairs the one with the lowest numbers goes first. Stops early when no pair
    occurs `min_count` times. on_merge: called with (first, second, count).
    """
    texts = [word for word in words if len(word) > 1]
    counts = [words[word] for word in texts]
    pair_counts: dict[str, int] = {}
    where: dict[str, list[int]] = {}  # pair -> words that hold or held it; stale and double entries are harmless
    for index, (word, n) in enumerate(zip(texts, counts, strict=True)):
        for at in range(len(word) - 1):
            pair = word[at : at + 2]
            if pair in pair_counts:
                pair_counts[pair] += n
                where[pair].append(index)
            else:
                pair_counts[pair] = n
                where[pair] = [index]
    heap = [(-n, pair) for pair, n in pair_counts.items() if n >= min_count]
    heapify(heap)
    merges: list[tuple[int, int]] = []
    while heap and len(merges) < n_merges:
        negative, pair = heappop(heap)
        n = pair_counts.get(pair, 0)
        if n != -negative:  # the count fell after this entry was made
            if n >= min_count:
                heappush(heap, (-n, pair))
            continue
        new = chr(n_symbols + len(merges))
        merges.append((ord(pair[0]), ord(pair[1])))
        grown = _apply(pair, new, texts, counts, pair_counts, where)
        del pair_counts[pair]
        pair_counts.update(grown)
        for other, m in grown.items():
            if m >= min_count:
                heappush(heap, (-m, other))
        if on_merge is not None:
            on_merge(*merges[-1], n)
    return merges


def _apply(
    pair: str, new: str, texts: list[str], counts: list[int], pair_counts: dict[str, int], where: dict[str, list[int]]
) -> dict[str, int]:
    """Put `new` for `pair` in every word, lower the counts of the pairs that vanish, return those that appear."""
    first, second = pair[0], pair[1]
    grown: dict[str, int] = {}
    grow = grown.get
    for index in where.pop(pair):
        word = texts[index]
        at = word.find(pair)
        if at < 0:
            continue
        n = counts[index]
        merged = texts[index] = word.replace(pair, new)
        if len(merged) == len(word) - 1:  # once in the word, the common case: only its neighbours change
            if at:
                left = word[at - 1]
                pair_counts[left + first] -= n
                other = left + new
                grown[other] = grow(other, 0) + n
                where.setdefault(other, []).append(index)
            if at + 2 < len(word):
                right = word[at + 2]
                pair_counts[second + right] -= n
                other = new + right
                grown[other] = grow(other, 0) + n
                where.setdefault(other, []).append(index)
            continue
        for k in range(len(word) - 1):
            pair_counts[word[k : k + 2]] -= n
        for k in range(len(merged) - 1):
            other = merged[k : k + 2]
            if new in other:
                grown[other] = grow(other, 0) + n
                where.setdefault(other, []).append(index)
            else:
                pair_counts[other] += n
    return grown
