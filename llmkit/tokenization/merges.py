"""Learn merges from word counts: byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909), incrementally.

A word is a string with one character per symbol, so that merging a pair inside a word is one `str.replace`, which is
what makes this fast in plain Python. Symbol numbers are code points; they are not the text's characters.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from heapq import heapify, heappop, heappush


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
    with _no_garbage_collection():
        table = _index(texts, counts)
        heap: list[tuple[int, str]] = []
        floor = max((entry[0] for entry in table.values()), default=0) + 1
        merges: list[tuple[int, int]] = []
        while len(merges) < n_merges:
            if not heap:
                if floor <= min_count:
                    break
                floor = max(min_count, floor // 8)
                heap = [(-entry[0], pair) for pair, entry in table.items() if entry[0] >= floor]
                heapify(heap)
                continue
            negative, pair = heappop(heap)
            entry = table.get(pair)
            n = entry[0] if entry is not None else 0
            if n != -negative:  # the count fell after this entry was made
                if n >= floor:
                    heappush(heap, (-n, pair))
                continue
            new = chr(n_symbols + len(merges))
            merges.append((ord(pair[0]), ord(pair[1])))
            grown = _apply(pair, new, texts, counts, table)
            del table[pair]
            table.update(grown)
            for other, entry in grown.items():
                if entry[0] >= floor:
                    heappush(heap, (-entry[0], other))
            if on_merge is not None:
                on_merge(*merges[-1], n)
    return merges


# pair -> [its count, then the numbers of the words that hold or held it]. Stale and double word numbers are harmless.
Table = dict[str, list[int]]


def _index(texts: list[str], counts: list[int]) -> Table:
    table: Table = {}
    find = table.get
    for index, word in enumerate(texts):
        n = counts[index]
        for at in range(len(word) - 1):
            pair = word[at : at + 2]
            entry = find(pair)
            if entry is None:
                table[pair] = [n, index]
            else:
                entry[0] += n
                entry.append(index)
    return table


def _apply(pair: str, new: str, texts: list[str], counts: list[int], table: Table) -> Table:
    """Put `new` for `pair` in every word, lower the counts of the pairs that vanish, return those that appear."""
    first, second = pair[0], pair[1]
    grown: Table = {}
    find = grown.get
    for index in table[pair][1:]:
        word = texts[index]
        at = word.find(pair)
        if at < 0:
            continue
        n = counts[index]
        merged = texts[index] = word.replace(pair, new)
        if len(merged) == len(word) - 1:  # once in the word, the common case: only its neighbours change
            others = []
            if at:
                left = word[at - 1]
                table[left + first][0] -= n
                others.append(left + new)
            if at + 2 < len(word):
                right = word[at + 2]
                table[second + right][0] -= n
                others.append(new + right)
        else:
            for k in range(len(word) - 1):
                table[word[k : k + 2]][0] -= n
            others = []
            for k in range(len(merged) - 1):
                other = merged[k : k + 2]
                if new in other:
                    others.append(other)
                else:
                    table[other][0] += n
        for other in others:
            entry = find(other)
            if entry is None:
                grown[other] = [n, index]
            else:
                entry[0] += n
                entry.append(index)
    return grown


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """The lists made here hold no cycles, and looking for some every few hundred lists costs a fifth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
