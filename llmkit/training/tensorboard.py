"""The numbers of a run as TensorBoard reads them, written without it: event files are rows of framed messages.

Framing: length, checksum of the length, the event, checksum of the event. An event here is a time, a step and named
numbers, five fields in all, so that neither TensorBoard nor protobuf is needed to train; to look at them it is
(`pip install "llmkit[tensorboard]"`, then `tensorboard --logdir runs`). No torch here.
"""

from __future__ import annotations

import contextlib
import os
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmkit.errors import StorageError
from llmkit.training.events import Evaluation, Event, Step

DIRECTORY = "tb"
_PREFIX, _SUFFIX = "events.out.tfevents.", ".llmkit"
_VERSION = b"brain.Event:2"
_LARGEST = 1 << 20  # bytes of an event of ours; more is a damaged length


class Board:
    """Writes each step's and each validation's numbers to an event file in `directory`.

    resumed_step: where the run goes on; what an earlier session wrote beyond it is dropped, with what is torn, and the
    rest goes on in a file of a new name, as a TensorBoard that is looking expects files to grow only.
    """

    def __init__(self, directory: Path, resumed_step: int) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            path = self._kept(directory, resumed_step)
            self.file = path.open("ab")
            if not self.file.tell():
                self._write(_field(3, _VERSION))
        except OSError as error:
            raise StorageError(f"{directory}: {error.strerror}", "set train.tensorboard=false to do without") from error

    def __call__(self, event: Event) -> None:
        """Write the numbers of a step or a validation; a full disk is the checkpoints' to report."""
        if isinstance(event, Step):
            parts = {f"loss/{part}": value for part, value in event.parts.items()}
            rates = {"tokens_per_second": event.tokens_per_second, "seconds": event.seconds, "tokens": event.tokens}
            share = {} if event.utilisation is None else {"utilisation": event.utilisation}
            values = {"loss/train": event.loss, **parts, "lr": event.lr, "grad_norm": event.grad_norm}
            self.numbers(event.step, {**values, **{f"speed/{name}": v for name, v in {**rates, **share}.items()}})
        elif isinstance(event, Evaluation):
            scores = {f"validation/{name}": value for name, value in event.scores.items() if name != "loss"}
            loss = {"loss/validation": event.scores["loss"]} if "loss" in event.scores else {}
            self.numbers(event.step, {**loss, **scores})

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write named numbers of a step."""
        summary = b"".join(
            _field(1, _field(1, name.encode()) + b"\x15" + struct.pack("<f", _float32(value)))
            for name, value in values.items()
        )
        with contextlib.suppress(OSError):
            self._write(b"\x10" + _varint(step) + _field(5, summary))

    def close(self) -> None:
        """Stop writing."""
        with contextlib.suppress(OSError):
            self.file.close()

    def _write(self, body: bytes) -> None:
        self.file.write(_framed(b"\x09" + struct.pack("<d", time.time()) + body))
        self.file.flush()

    def _kept(self, directory: Path, step: int) -> Path:
        """The file to go on with: the last session's if all of it is to be kept, else a new one that begins with what
        is."""
        ours = sorted(directory.glob(f"{_PREFIX}*{_SUFFIX}"))
        old = ours[-1] if ours else None
        data = old.read_bytes() if old is not None else b""
        end = 0
        for place, body in _frames(data):
            if _step(body) > step:
                break
            end = place
        if old is not None and end == len(data) and step > 0:
            return old
        stamp = max(int(time.time()), int(old.name.removeprefix(_PREFIX).partition(".")[0]) + 1 if old else 0)
        fresh = directory / f"{_PREFIX}{stamp:010d}{_SUFFIX}"
        temporary = directory / f".tmp-{os.getpid()}"
        temporary.write_bytes(data[:end] if step > 0 else b"")
        temporary.replace(fresh)
        for path in ours:
            path.unlink()
        return fresh


def _frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each whole event of a file, with the place where it ends; what is torn or damaged ends it."""
    at = 0
    while at + 12 <= len(data):
        length, check = struct.unpack_from("<QI", data, at)
        end = at + 12 + length + 4
        if length > _LARGEST or end > len(data) or check != _checksum(data[at : at + 8]):
            return
        body = data[at + 12 : end - 4]
        if struct.unpack_from("<I", data, end - 4)[0] != _checksum(body):
            return
        at = end
        yield at, body


def _step(body: bytes) -> int:
    """The step of an event of ours: the field after the time; 0 for the first event, which has none."""
    if body[9:10] != b"\x10":
        return 0
    step = shift = 0
    for byte in body[10:20]:
        step |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return step


def _framed(body: bytes) -> bytes:
    length = struct.pack("<Q", len(body))
    return b"".join((length, struct.pack("<I", _checksum(length)), body, struct.pack("<I", _checksum(body))))


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes, text or another message."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """A number in groups of seven bits, the lowest first."""
    groups: list[int] = []
    while True:
        value, group = value >> 7, value & 0x7F
        if not value:
            return bytes([*groups, group])
        groups.append(group | 0x80)


def _float32(value: float) -> float:
    """The nearest number of 32 bits; one too large for that becomes infinite."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = row >> 1 ^ (0x82F63B78 if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_CRC = _table()


def _checksum(data: bytes) -> int:
    """CRC-32C of Castagnoli, turned and shifted as this file format wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
