"""Tokenizers learned before, kept in the cache by text and settings: the same need not be learned twice."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from llmkit import __version__
from llmkit.data.sources import file_sha256
from llmkit.errors import LlmkitError
from llmkit.tokenization.files import FILE
from llmkit.tokenization.tokenizer import Tokenizer

_DIGEST = "sha256"


def remembered(cache: Path | None, settings: str, learn: Callable[[], Tokenizer]) -> tuple[Tokenizer, bool]:
    """The tokenizer of `settings` (a text with all that determines it), and whether it was there already.

    What is damaged is learned anew; that one cannot be kept is no error. cache: None keeps nothing.
    """
    if cache is None:
        return learn(), False
    digest = hashlib.sha256(f"tokenizer 1 {__version__} {settings}".encode("utf-8", "surrogatepass"))
    place = cache / f"tokenizer-{digest.hexdigest()[:32]}"
    with contextlib.suppress(OSError, LlmkitError):
        if (place / _DIGEST).read_text() == file_sha256(place / FILE):
            return Tokenizer.from_file(place), True
    learned = learn()
    with contextlib.suppress(OSError, LlmkitError):
        cache.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".tmp-tokenizer-", dir=cache))
        try:
            learned.save(staged)
            (staged / _DIGEST).write_text(file_sha256(staged / FILE))
            shutil.rmtree(place, ignore_errors=True)
            os.rename(staged, place)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return learned, False
