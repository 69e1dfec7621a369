"""Texts to ids, batch by batch and in order: in this process, or in several for a large corpus.

The helpers are processes of their own that speak over pipes (see encode_worker.py): threads would take turns, since
most of the work is Python's, and a fork may hang where other threads run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol, TypeVar

from llmkit.data.encode_worker import read_frame, write_frame
from llmkit.data.sentences import sentence_segments
from llmkit.errors import InputRefused, LlmkitError

Encode = Callable[[list[str]], list[list[int]]]
Ids = Sequence[int]
T = TypeVar("T")
WORTH = 32_000_000
"""Bytes of text for which helpers are worth their start, about half a second each."""
MOST = 16


class Encoder(Protocol):
    """Encodes batches of texts, each text as one part or sentence by sentence."""

    def run(self, batches: Iterable[tuple[T, list[str]]]) -> Generator[tuple[T, list[list[Ids]]], None, None]:
        """Each batch with the ids of the parts of its texts, in order."""


@dataclass(frozen=True)
class Alone:
    """In this process."""

    encode: Encode
    sentences: bool

    def run(self, batches: Iterable[tuple[T, list[str]]]) -> Generator[tuple[T, list[list[Ids]]], None, None]:
        """See Encoder."""
        for what, texts in batches:
            parts = [parts_of(text, self.sentences) for text in texts]
            flat = [part for found in parts for part in found]
            encoded = self.encode(flat)
            if len(encoded) != len(flat):
                raise AssertionError(f"encode returned {len(encoded)} lists for {len(flat)} texts")
            rest = iter(encoded)
            yield what, [[next(rest) for _ in found] for found in parts]


@dataclass(frozen=True)
class Helped:
    """In `n` other processes, which read the tokenizer from the bytes of a tokenizer.json.

    kind: "H" or "I", for ids of 16 or 32 bits.
    """

    tokenizer: bytes
    sentences: bool
    kind: str
    n: int

    def run(self, batches: Iterable[tuple[T, list[str]]]) -> Generator[tuple[T, list[list[Ids]]], None, None]:
        """See Encoder. Raises InputRefused for text that the tokenizer cannot encode."""
        free: SimpleQueue[_Helper] = SimpleQueue()
        helpers = [_Helper(self) for _ in range(self.n)]
        for helper in helpers:
            free.put(helper)

        def encoded(texts: list[str]) -> list[list[Ids]]:
            helper = free.get()
            try:
                return helper.encode(texts)
            finally:
                free.put(helper)

        try:
            with ThreadPoolExecutor(self.n, thread_name_prefix="encode") as pool:
                ahead: deque[tuple[T, Future[list[list[Ids]]]]] = deque()
                try:
                    for what, texts in batches:
                        ahead.append((what, pool.submit(encoded, texts)))
                        if len(ahead) > self.n + 1:
                            first, done = ahead.popleft()
                            yield first, done.result()
                    while ahead:
                        first, done = ahead.popleft()
                        yield first, done.result()
                finally:
                    for _, waiting in ahead:
                        waiting.cancel()
        finally:
            for helper in helpers:
                helper.close()


def encoder_for(encode: Encode, tokenizer: bytes | None, *, n_bytes: int, vocab_size: int, sentences: bool) -> Encoder:
    """The faster one for that much text; tokenizer: None when it is known by `encode` alone."""
    n = min(_n_cores(), MOST)
    if tokenizer is None or n < 2 or n_bytes < WORTH or not sys.executable:
        return Alone(encode, sentences)
    return Helped(tokenizer, sentences, kind_of_ids(vocab_size), n)


def kind_of_ids(vocab_size: int) -> str:
    """The type code of an array of ids."""
    return "H" if vocab_size <= 1 << 16 else "I"


def parts_of(text: str, sentences: bool) -> list[str]:
    """What is encoded apart: the sentences, or the text."""
    return sentence_segments(text) or [""] if sentences else [text]


class _Helper:
    """One process that encodes."""

    def __init__(self, settings: Helped) -> None:
        self.kind = settings.kind
        # Its own session: Ctrl-C is for the process that owns the terminal. Where that ends, so does the pipe.
        code = f"import sys; sys.path[:] = {sys.path!r}; from llmkit.data.encode_worker import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.to, self.back = self.process.stdin, self.process.stdout
        with contextlib.suppress(OSError), _no_sigpipe():
            write_frame(self.to, f"{settings.kind}{int(settings.sentences)}".encode(), settings.tokenizer)

    def encode(self, texts: list[str]) -> list[list[Ids]]:
        """The ids of the parts of each text."""
        data = [text.encode("utf-8", "surrogatepass") for text in texts]
        try:
            with _no_sigpipe():
                write_frame(self.to, array("I", map(len, data)).tobytes(), *data)
            answer = read_frame(self.back)
        except OSError:
            answer = None
        if answer is None:
            raise LlmkitError("a process that tokenizes has died", "is there enough memory? the same command goes on")
        return opened(answer, len(texts), self.kind)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        for pipe in (self.to, self.back):
            with contextlib.suppress(OSError), _no_sigpipe():
                pipe.close()
        self.process.wait()


def opened(answer: bytes, n_texts: int, kind: str) -> list[list[Ids]]:
    """The ids of the parts of each text in an answer of encode_worker.py; raises InputRefused if it is a refusal."""
    if answer[:1] == b"!":
        raise InputRefused(answer[1:].decode("utf-8", "replace"))
    n_parts, at = array("I"), 1 + 4 * n_texts
    n_parts.frombytes(answer[1:at])
    lengths, end = array("I"), at + 4 * sum(n_parts)
    lengths.frombytes(answer[at:end])
    ids = array(kind)
    ids.frombytes(answer[end:])
    rows: list[list[Ids]] = []
    done = start = 0
    for n in n_parts:
        row: list[Ids] = []
        for length in lengths[done : done + n]:
            row.append(ids[start : start + length])
            start += length
        rows.append(row)
        done += n
    return rows


@contextlib.contextmanager
def _no_sigpipe() -> Iterator[None]:
    """Inside, writing to a process that has died is an OSError, also where a broken pipe is to end the program."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
    try:
        yield
    finally:
        if signal.SIGPIPE not in before:
            while signal.SIGPIPE in signal.sigpending():
                signal.sigwait({signal.SIGPIPE})
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
