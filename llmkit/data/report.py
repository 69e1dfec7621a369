"""What was found while reading a corpus, for the header of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llmkit.units import counted


@dataclass(frozen=True)
class Share:
    """What one of several sources contributes: documents (or pairs) and tokens."""

    name: str
    n_documents: int
    n_tokens: int


@dataclass(frozen=True)
class DataReport:
    """Counts over one corpus.

    source: how it was read, in words; n_bytes, n_chars: of the text as UTF-8 and in characters; n_tokens counts the
    end-of-document tokens too; n_empty: documents of white space only (pairs with such a side), left out; n_duplicates:
    documents (pairs) equal to an earlier one, kept; target: the counts of the other side of pairs;
    shares: what each of several sources contributes.
    """

    source: str
    n_documents: int
    n_sentences: int
    n_bytes: int
    n_chars: int
    n_tokens: int
    n_empty: int
    n_duplicates: int
    target: DataReport | None = None
    shares: tuple[Share, ...] = ()

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> DataReport:
        """A report from `as_dict`; raises TypeError for anything else."""
        target = values.get("target")
        shares = tuple(Share(**share) for share in values["shares"])
        return cls(**{**values, "target": None if target is None else cls.read(target), "shares": shares})

    def with_target(self, target: DataReport, n_left_out: int) -> DataReport:
        """The report of pairs, given that of the other side."""
        return replace(self, target=target, n_empty=n_left_out)

    def renamed(self, source: str, origins: Sequence[str]) -> DataReport:
        """The same counts of the same text that comes by other names."""
        shares = tuple(replace(share, name=name) for share, name in zip(self.shares, origins, strict=True))
        return replace(self, source=source, shares=shares)

    @property
    def bytes_per_token(self) -> float:
        """Mean bytes of text behind a token: turns nats per token into bits per byte."""
        return self.n_bytes / max(self.n_tokens, 1)

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """What a reader should know, one fact a line; oddities only where there are some."""
        what = "document" if self.target is None else "pair"
        sides = " and ".join(side._size() for side in (self, self.target) if side is not None)
        name = f"{len(self.shares)} sources" if len(self.shares) > 1 else self.source
        found = [f"{name}: {counted(self.n_documents, what)}, {sides}"]
        for share in self.shares if len(self.shares) > 1 else ():
            part = share.n_tokens / max(self.n_tokens, 1)
            found.append(f"{share.name}: {counted(share.n_documents, what)}, {100 * part:.1f} % of the tokens")
        if self.n_duplicates:
            found.append(f"{counted(self.n_duplicates, what)} repeat{'s' * (self.n_duplicates == 1)} an earlier one")
        if self.n_empty:
            empty = counted(self.n_empty, f"empty {what}" if self.target is None else what)
            found.append(f"{empty}{' with an empty side' if self.target is not None else ''} left out")
        return found

    def _size(self) -> str:
        return f"{self.n_bytes:,} bytes, {self.n_tokens:,} tokens ({self.bytes_per_token:.2f} bytes per token)"
