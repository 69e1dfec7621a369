"""Codes at the beginning of documents, which say what follows (Keskar et al. 2019, CTRL, arXiv:1909.05858).

Every code becomes one special token, so the set of codes must be known before a tokenizer is learned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from llmkit.data.columns import LABEL_NAMES, MAX_LABELS, find_column, label_order, label_text
from llmkit.errors import InputRefused

MAX_CODE = 64
# What would be taken for a special token of another kind.
_RESERVED = frozenset(("endoftext", "pad", "unk", "mask", "startoftext", "begin_of_text", "end_of_text", "eot_id"))


def code_token(code: str) -> str:
    """The special token of a code: 'happy' -> '<|happy|>'."""
    return f"<|{code}|>"


def story_codes() -> tuple[str, ...]:
    """The codes of the built-in stories: their moods."""
    from llmkit.data.stories import MOODS

    return MOODS


def code_of(row: Mapping[str, object], label: str | None, name: str, number: int) -> str:
    """The code of a record: its column `label`, or the first of the usual names of labels.

    Raises UsageError when no column can be it, InputRefused naming file and line when the record has no label.
    """
    return label_text(name, number, row[label_column(list(row), label, name)])


def label_column(names: list[str], label: str | None, name: str) -> str:
    """The column with the codes among those of file `name`; see `code_of`."""
    return find_column(name, names, "label", label, LABEL_NAMES)


class Codes:
    """The different codes seen so far, each checked."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def add(self, code: str, where: str) -> None:
        """Note one code. Raises InputRefused when it cannot be a token, or when there are too many."""
        if code in self._seen:
            return
        if not code.isprintable() or len(code) > MAX_CODE or set(code) & set("<|>") or not code.strip():
            raise InputRefused(
                f"{where}: {code[:MAX_CODE]!r} cannot be a code",
                f"codes are up to {MAX_CODE} printable characters without <, | and >; is that the right column?",
            )
        if code in _RESERVED:
            raise InputRefused(f"{where}: the code {code!r} would be {code_token(code)}, which has another meaning")
        if len(self._seen) == MAX_LABELS:
            raise InputRefused(
                f"{where}: more than {MAX_LABELS} different codes",
                "is that the right column? say which, as in --set data.label=COLUMN",
            )
        self._seen.add(code)

    def add_all(self, codes: Iterable[str]) -> None:
        """Note codes that are known to be fine."""
        self._seen.update(codes)

    def ordered(self) -> tuple[str, ...]:
        """All codes, by number if they are numbers, else by name."""
        return tuple(sorted(self._seen, key=label_order(self._seen)))


def check_known(codes: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise InputRefused for codes of the validation data that the training data lack."""
    if new := sorted(set(codes) - set(known)):
        raise InputRefused(
            f"{where} has the code {new[0]!r}, which the training data lack", "a code that was never seen says nothing"
        )
