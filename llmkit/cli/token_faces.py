"""What `llmkit tokenize` writes: one small generator of output for each of its faces."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from llmkit.cli.models import say
from llmkit.errors import InputRefused
from llmkit.render.console import is_terminal, make_console, palette, wants_color
from llmkit.render.safe_text import safe_text
from llmkit.tokenization import stream
from llmkit.tokenization.byte_input import byte_blocks, shown
from llmkit.tokenization.stream import Errors, Part
from llmkit.tokenization.tokenizer import Tokenizer

SCHEMA = "llmkit/tokenize/1"


@dataclass
class Job:
    """One run of the command. The counters grow as it goes."""

    tokenizer: Tokenizer
    note: str | None
    files: tuple[str, ...]
    field: str | None
    special: bool
    errors: Errors
    as_json: bool
    schema: bool
    out: Path | None
    on_terminal: bool
    quiet: bool
    n_bytes: int = 0
    n_tokens: int = 0
    n_records: int = 0

    def texts(self, name: str) -> Iterator[str]:
        """The text of one input, decoded and counted."""
        return stream.decoded(self._counted(byte_blocks(name)), shown(name), self.errors)

    def _counted(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.n_bytes += len(block)
            yield block

    def records(self, name: str) -> Iterator[list[Part]]:
        """Lines of one input, or with --field the texts in them."""
        batches = stream.records(self.texts(name))
        return batches if self.field is None else stream.fields(batches, shown(name), self.field)

    def whole_records(self, name: str) -> Iterator[list[Part]]:
        """The same, never in parts."""
        return stream.whole(self.records(name), shown(name))

    def encode(self, parts: list[Part]) -> list[list[int]]:
        encoded = self.tokenizer.encode_batch([part.text for part in parts], add_special=self.special)
        self.n_tokens += sum(map(len, encoded))
        self.n_records += sum(part.last for part in parts)
        return encoded


class _Names(dict[int, str]):
    """id -> how it is written, made when first asked for."""

    def __init__(self, spell: Callable[[int], str]) -> None:
        super().__init__()
        self._spell = spell

    def __missing__(self, token_id: int) -> str:
        name = self[token_id] = self._spell(token_id)
        return name


def _token_name(tokenizer: Tokenizer, token_id: int) -> str:
    """A token as the vocabulary spells it, white space and what cannot be printed escaped."""
    token = tokenizer.token(token_id)
    if token.isprintable() and " " not in token:
        return token
    return "".join(
        "\\x20" if c == " " else c if c.isprintable() else c.encode("unicode_escape").decode() for c in token
    )


def run(face: str, job: Job) -> None:
    """Write what `face` names for all inputs of `job`."""
    if job.note and is_terminal(sys.stderr):
        say(job.note)
    faces: dict[str, Callable[[Job], Iterable[bytes]]] = {
        "ids": lambda j: _spelled(j, str),
        "tokens": lambda j: _spelled(j, lambda i: _token_name(j.tokenizer, i)),
        "offsets": _offsets,
        "jsonl": _jsonl,
        "count": _count,
        "decode": _decode,
        "out": _pack,
    }
    if face == "view":
        _view(job)
    else:
        _write(faces[face](job), escape=job.on_terminal)
    # In a pipe the choice is said last: a reader that stops early ends this program, and silently.
    if job.note and not is_terminal(sys.stderr):
        say(job.note)


def _write(chunks: Iterable[bytes], *, escape: bool) -> None:
    """Send bytes to stdout as they come; on a terminal nothing that could control it gets through."""
    if not escape:
        out = sys.stdout.buffer
        for chunk in chunks:
            out.write(chunk)
            out.flush()
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    ended = True
    for chunk in chunks:
        text = decoder.decode(chunk)
        sys.stdout.write(safe_text(text))
        sys.stdout.flush()
        ended = text.endswith("\n") if text else ended
    sys.stdout.write(safe_text(decoder.decode(b"", True)) + ("" if ended else "\n"))


def _spelled(job: Job, spell: Callable[[int], str]) -> Iterator[bytes]:
    """Each record as one line of `spell(id)`, spaces between."""
    names = _Names(spell)
    for name in job.files:
        in_record = False
        batches = job.whole_records(name) if job.special else job.records(name)
        for parts in batches:
            lines: list[str] = []
            for part, ids in zip(parts, job.encode(parts), strict=True):
                if in_record and ids:
                    lines.append(" ")
                lines.append(" ".join(map(names.__getitem__, ids)))
                in_record = not part.last and (in_record or bool(ids))
                if part.newline:
                    lines.append("\n")
            yield "".join(lines).encode()


def _offsets(job: Job) -> Iterator[bytes]:
    for name in job.files:
        for parts in job.whole_records(name):
            for part in parts:
                found = job.tokenizer.encode_offsets(part.text, add_special=job.special)
                line = " ".join([f"{start}:{end}" for _, start, end in found])
                yield (line + ("\n" if part.newline else "")).encode()


def _jsonl(job: Job) -> Iterator[bytes]:
    for name in job.files:
        for parts in job.whole_records(name):
            lines = []
            for part in parts:
                found = job.tokenizer.encode_offsets(part.text, add_special=job.special)
                record: dict[str, object] = {"schema": SCHEMA} if job.schema else {}
                record["ids"] = [i for i, _, _ in found]
                record["tokens"] = [job.tokenizer.token(i) for i, _, _ in found]
                record["offsets"] = [[start, end] for _, start, end in found]
                lines.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")
            yield "".join(lines).encode("utf-8", "replace")


def _count(job: Job) -> Iterator[bytes]:
    """One number for one input; for several a line each and a total, as wc has it."""
    results = []
    for name in job.files:
        before, bytes_before = job.n_tokens, job.n_bytes
        if job.field is None and not job.special:
            for text in stream.running(job.texts(name)):
                job.n_tokens += len(job.tokenizer.encode(text))
        else:
            for parts in job.whole_records(name):
                job.encode(parts)
        results.append((shown(name), job.n_tokens - before, job.n_bytes - bytes_before))
        if not job.as_json:
            suffix = f"\t{safe_text(name)}" if len(job.files) > 1 else ""
            yield f"{job.n_tokens - before}{suffix}\n".encode()
    if job.as_json:
        files = [{"file": file, "tokens": tokens, "bytes": n} for file, tokens, n in results]
        body = {"schema": SCHEMA, "tokens": job.n_tokens, "bytes": job.n_bytes, "bytes_per_token": _ratio(job)}
        yield (json.dumps({**body, "files": files}, ensure_ascii=False) + "\n").encode("utf-8", "replace")
    elif len(job.files) > 1:
        yield f"{job.n_tokens}\ttotal\n".encode()


def _decode(job: Job) -> Iterator[bytes]:
    for name in job.files:
        batches = stream.records(job.texts(name))
        if job.as_json:
            for found in stream.json_id_lists(batches, shown(name), job.tokenizer.check_ids):
                for ids, _ in found:
                    yield (json.dumps({"text": job.tokenizer.decode(ids)}, ensure_ascii=False) + "\n").encode()
            continue
        if not job.tokenizer.is_lossless:  # its tokens do not stand for bytes one by one, so records must be whole
            batches = stream.whole(batches, shown(name))
        for found in stream.id_lists(batches, shown(name), job.tokenizer.check_ids):
            yield b"".join(job.tokenizer.decode_bytes(ids) + (b"\n" if part.newline else b"") for ids, part in found)


def _pack(job: Job) -> Iterator[bytes]:
    """Packed ids into a file; its path, or with --json its header, on stdout."""
    from llmkit.tokenization.packed import PackedWriter

    assert job.out is not None
    if str(job.out) == "-":
        raise InputRefused("packed ids cannot go to stdout", "name a file: --out corpus.bin")
    with PackedWriter(job.out, job.tokenizer) as writer:
        for name in job.files:
            if job.field is None:
                for text in stream.running(job.texts(name)):
                    writer.add(job.tokenizer.encode(text))
                writer.end_document()
                continue
            for parts in job.whole_records(name):
                for ids in job.encode(parts):
                    writer.add(ids)
                    writer.end_document()
    if job.as_json:
        yield (json.dumps({"schema": SCHEMA, "path": str(job.out), **writer.header()}) + "\n").encode()
    else:
        yield f"{job.out}\n".encode("utf-8", "surrogateescape")
    if not job.quiet:
        say(f"{writer.count:,} ids in {writer.documents:,} documents, {_per_token(job.n_bytes, writer.count)}")


def _view(job: Job) -> None:
    from llmkit.render.tokens import token_line

    console = make_console(sys.stdout)
    color, ramp = wants_color(sys.stdout), palette()
    special = job.tokenizer.special_ids
    for name in job.files:
        for parts in job.whole_records(name):
            for part, ids in zip(parts, job.encode(parts), strict=True):
                pieces = [(_piece(job.tokenizer, i), i in special) for i in ids]
                if part.newline:
                    pieces.append((b"\n", False))
                console.print(token_line(pieces, ramp, color=color), soft_wrap=True)
    if not job.quiet:
        say(f"{job.n_tokens:,} tokens, {job.n_bytes:,} bytes, {_per_token(job.n_bytes, job.n_tokens)}")


def _piece(tokenizer: Tokenizer, token_id: int) -> bytes:
    if tokenizer.is_lossless:
        return tokenizer.decode_bytes([token_id])
    return tokenizer.token(token_id).replace("▁", " ").encode("utf-8", "replace")


def _ratio(job: Job) -> float | None:
    return round(job.n_bytes / job.n_tokens, 4) if job.n_tokens else None


def _per_token(n_bytes: int, n_tokens: int) -> str:
    return f"{n_bytes / n_tokens:.2f} bytes/token" if n_tokens else "no tokens"
