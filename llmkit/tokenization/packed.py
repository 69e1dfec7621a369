"""Token ids packed into a file of little-endian uint16 or uint32, with a JSON header beside it.

`numpy.memmap("corpus.bin", dtype="<u2")` reads it. FILE.json holds the dtype, the number of ids, where documents start
(not stored: every document ends with the end-of-text token) and which tokenizer made them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
import threading
from array import array
from collections.abc import Iterable
from pathlib import Path
from types import FrameType, TracebackType

from llmkit.errors import StorageError, UsageError
from llmkit.tokenization.files import write_atomically
from llmkit.tokenization.tokenizer import Tokenizer

FORMAT = "llmkit/ids/1"


class PackedWriter:
    """Writes ids as they come; the file appears when it is complete. Use as a context manager."""

    def __init__(self, path: Path, tokenizer: Tokenizer) -> None:
        if path.exists() and not path.is_file():  # a device would be replaced by a file
            raise UsageError(f"{path} is not a regular file", "name a file to write to")
        self.path = path
        self.tokenizer = tokenizer
        self.code = "H" if tokenizer.vocab_size <= 1 << 16 else "I"
        self.count = 0
        self.documents = 0
        self._heeded: list[int] = []
        self._temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self._file = open(self._temporary, "xb", buffering=1 << 20)  # noqa: SIM115  # closed in __exit__
        except OSError as error:
            raise self._failed(error) from None

    def _heed_signals(self) -> None:
        """A polite end (SIGTERM, SIGHUP) leaves no temporary file either; a handler set by others stays."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, self._die)
                self._heeded.append(number)

    def _die(self, number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            self._temporary.unlink()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def add(self, ids: Iterable[int]) -> None:
        """Append ids."""
        packed = array(self.code, ids)
        self.count += len(packed)
        if sys.byteorder == "big":
            packed.byteswap()
        try:
            self._file.write(packed)
        except OSError as error:
            raise self._failed(error) from None

    def end_document(self) -> None:
        """Append the end-of-text token, if there is one."""
        self.documents += 1
        end = self.tokenizer.eos_id if self.tokenizer.eos_id is not None else self.tokenizer.sep_id
        if end is not None:
            self.add([end])

    def header(self) -> dict[str, object]:
        """What the JSON file says."""
        return {
            "format": FORMAT,
            "dtype": "<u2" if self.code == "H" else "<u4",
            "ids": self.count,
            "documents": self.documents,
            "end_id": self.tokenizer.eos_id if self.tokenizer.eos_id is not None else self.tokenizer.sep_id,
            "vocab_size": self.tokenizer.vocab_size,
            "tokenizer_sha256": self.tokenizer.sha256,
        }

    def __enter__(self) -> PackedWriter:
        self._heed_signals()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                header = json.dumps(self.header(), indent=2) + "\n"
                write_atomically(self.path.with_name(self.path.name + ".json"), header.encode())
                os.replace(self._temporary, self.path)
        except OSError as failure:
            raise self._failed(failure) from None
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            for number in self._heeded:
                signal.signal(number, signal.SIG_DFL)

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write {self.path}: {(error.strerror or str(error)).lower()}")
