"""What was found while reading a corpus, for the header of a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class DataReport:
    """Counts over one corpus.

    source: how it was read, in words; n_bytes, n_chars: of the text as UTF-8 and in characters; n_tokens counts the
    end-of-document tokens too; n_empty: documents of white space only, left out; n_duplicates: documents equal to an
    earlier one (kept), among the first `duplicates_checked`.
    """

    source: str
    n_documents: int
    n_sentences: int
    n_bytes: int
    n_chars: int
    n_tokens: int
    n_empty: int
    n_duplicates: int
    duplicates_checked: int

    @property
    def bytes_per_token(self) -> float:
        """Mean bytes of text behind a token: turns nats per token into bits per byte."""
        return self.n_bytes / max(self.n_tokens, 1)

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """What a reader should know, one fact a line; oddities only where there are some."""
        found = [
            f"{self.source}: {self.n_documents:,} documents, {self.n_bytes:,} bytes, {self.n_tokens:,} tokens "
            f"({self.bytes_per_token:.2f} bytes per token)"
        ]
        if self.n_duplicates:
            among = "" if self.duplicates_checked >= self.n_documents else f" of the first {self.duplicates_checked:,}"
            found.append(f"{self.n_duplicates:,}{among} documents repeat an earlier one")
        if self.n_empty:
            found.append(f"{self.n_empty:,} empty documents left out")
        return found
