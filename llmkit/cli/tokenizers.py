"""Which tokenizer a command works with: the one named, or the newest in the store."""

from __future__ import annotations

from pathlib import Path

from llmkit.errors import UsageError
from llmkit.tokenization.tokenizer import Tokenizer

_OLD_FILES = ("vocab.txt", "vocab.json")


def choose_tokenizer(ref: str | None, store: Path | None) -> tuple[Tokenizer, str | None]:
    """The tokenizer `ref` names: a file, a directory or a name in the store; with None the newest in the store.

    Returns it and, when it was chosen for the user, what to say about that. Raises UsageError when there is none.
    """
    from llmkit.checkpoint.refs import default_store, newest_tokenizer, reference, resolve

    place = default_store(store)
    if ref is None:
        found = newest_tokenizer(place)
        if found is None:
            raise UsageError(
                f"no tokenizer in {place}; train one first: llmkit train-bpe FILE, or llmkit pretrain bert-mini",
                "or name one: --tokenizer REF",
            )
        return Tokenizer.from_file(found), f"tokenizer: {reference(found, place)}"
    path = Path(ref).expanduser()
    in_store = (place / ref.partition("@")[0]).is_dir()
    if not in_store and (path.is_file() or any((path / name).is_file() for name in _OLD_FILES)):
        return Tokenizer.from_file(path), None
    return Tokenizer.from_file(resolve(ref, place)), None
