"""A process that encodes texts for another one, over pipes: its first frame is the tokenizer, each further one texts.

A frame is a length of 8 bytes and as many bytes. Texts come as their lengths (32 bits each) and their bytes; the answer
is "." with the number of parts of each text, the number of ids of each part, and the ids; or "!" and a message.
"""

from __future__ import annotations

import struct
import sys
from array import array
from itertools import chain
from typing import IO

_LENGTH = struct.Struct("=Q")


def write_frame(pipe: IO[bytes], *parts: bytes) -> None:
    """Send parts as one frame, the first with its own length before it; raises OSError when nobody reads."""
    pipe.write(_LENGTH.pack(_LENGTH.size + sum(map(len, parts))) + _LENGTH.pack(len(parts[0])))
    for part in parts:
        pipe.write(part)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> bytes | None:
    """The parts of the next frame, joined; None at the end."""
    found = read_two(pipe)
    return None if found is None else found[0] + found[1]


def read_two(pipe: IO[bytes]) -> tuple[bytes, bytes] | None:
    """The first part of the next frame, and the others joined; None at the end."""
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    data = pipe.read(size)
    if len(data) < size:
        return None
    (first,) = _LENGTH.unpack_from(data)
    return data[_LENGTH.size : _LENGTH.size + first], data[_LENGTH.size + first :]


def main() -> None:
    """Answer until the other side is gone."""
    import tokenizers

    from llmkit.data.encoding import parts_of
    from llmkit.tokenization.tokenizer import Tokenizer

    source, out = sys.stdin.buffer, sys.stdout.buffer
    begin = read_two(source)
    if begin is None:
        return
    kind, sentences = begin[0][:1].decode(), begin[0][1:] == b"1"
    tokenizer = Tokenizer(tokenizers.Tokenizer.from_str(begin[1].decode("utf-8")), {})
    while (frame := read_two(source)) is not None:
        lengths = array("I")
        lengths.frombytes(frame[0])
        parts, at = [], 0
        for length in lengths:
            parts.append(parts_of(frame[1][at : at + length].decode("utf-8", "surrogatepass"), sentences))
            at += length
        try:
            encoded = tokenizer.encode_batch(list(chain.from_iterable(parts)))
        except Exception as error:
            write_frame(out, b"!" + str(getattr(error, "message", error)).encode("utf-8", "replace"))
            continue
        counts = array("I", map(len, parts)).tobytes() + array("I", map(len, encoded)).tobytes()
        write_frame(out, b".", counts, array(kind, list(chain.from_iterable(encoded))).tobytes())
