"""Where English sentences end: rules for abbreviations, initials, decimals, quotations, ellipses and blank lines."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ABBREVIATIONS = frozenset(
    re.findall(
        r"\w+",
        """mr mrs ms messrs mme mlle dr prof rev hon st sr jr capt col gen lt maj sgt cmdr adm gov sen rep pres supt
        insp vs viz cf etc al ca approx dept est fig figs no nos vol vols ch chap sec pp ed eds trans ser inc ltd co
        corp bros jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri sat sun ave blvd rd mt
        ft lb lbs oz""",
    )
)
# After these a sentence may well end, so a capital letter decides; after the others it practically never does.
_MAY_END = frozenset(
    re.findall(r"\w+", "etc al inc ltd co corp bros jr sr no ed st ave blvd rd ft lb oz sat sun mar dec")
)
_NUMBERED = frozenset(("no", "nos", "fig", "figs", "vol", "vols", "ch", "chap", "sec", "pp", "p"))

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")
# Sentence-ending marks, the quotes and brackets that close after them, then white space.
_END = re.compile(r"(?P<marks>[.!?…]+|。)(?P<close>[\"'”’»)\]*_]*)(?P<space>\s+)")
# Who speaks, after the speech: Tom asked, the old man had cried.
_SPEAKER = re.compile(
    r"(?!(?:Then|And|But|So|When|As|After|Now|At|In|On)\b)(?:[\w'’-]+\s+){1,3}(?:said|asked|cried|replied|answered|shouted|"
    r"yelled|called|whispered|exclaimed|screamed|muttered|added|inquired|observed|remarked)\b"
)
_LAST_WORD = re.compile(r"[^\s(\[\"'“‘—–-]*\Z")
_OPENERS = "\"'“‘«([{*_—–-"


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each sentence in `text`, without the white space around it."""
    spans = []
    start = 0
    for end in _ends(text):
        begin, stop = _trimmed(text, start, end)
        if begin < stop:
            spans.append((begin, stop))
        start = end
    return spans


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped; a blank line always ends one."""
    return [text[a:b] for a, b in sentence_spans(text)]


def sentence_segments(text: str) -> list[str]:
    """Like `split_sentences`, each with the white space before it (the last also that after it): joined, `text`."""
    spans = sentence_spans(text)
    if not spans:
        return [text] if text else []
    ends = [b for _, b in spans[:-1]] + [len(text)]
    starts = [0, *ends[:-1]]
    return [text[a:b] for a, b in zip(starts, ends, strict=True)]


def _ends(text: str) -> Iterator[int]:
    begin = 0
    for blank in _BLANK_LINE.finditer(text):
        yield from _ends_within(text, begin, blank.start())
        begin = blank.end()
    yield from _ends_within(text, begin, len(text))


def _ends_within(text: str, begin: int, end: int) -> Iterator[int]:
    for match in _END.finditer(text, begin, end):
        if match.end() < end and _is_end(text, begin, match):
            yield match.end("close")
    yield end


def _is_end(text: str, begin: int, match: re.Match[str]) -> bool:
    following = text[match.end() : match.end() + 40].lstrip(_OPENERS)[:1]
    marks, closed = match["marks"], match["close"]
    if closed.endswith(('"', "”", "’")) and _SPEAKER.match(text, match.end()):  # "Where?" Tom asked.
        return False
    if following.islower():  # "What?" she asked.  "Wait... no."  Also a quotation inside a sentence.
        return False
    if marks != ".":
        return True
    word = _LAST_WORD.search(text, max(begin, match.start() - 30), match.start())
    before = word.group().lower() if word else ""
    if closed and before not in _ABBREVIATIONS:
        return True
    if len(before) == 1 and before.isalpha() and before != "i":  # an initial: J. Smith
        return not (word is not None and word.group().isupper() and following.isupper())
    if "." in before and not before[0].isdigit() and all(len(part) <= 2 for part in before.split(".")):  # e.g, U.S, p.m
        return following.isupper() and before in ("p.m", "a.m", "u.s", "u.k")
    if before in _NUMBERED:
        return not following.isdigit() and (before in _MAY_END and following.isupper())
    if before in _ABBREVIATIONS:
        return before in _MAY_END and before != "st" and (following.isupper() or bool(closed))
    return True


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
