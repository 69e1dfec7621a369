"""`llmkit tokenize` as its user meets it."""

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library

from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.tokenization.train import train

TEXT = "The cat's dinner,\r\n\n  naïve 東京 🙂 and\tmore\n\x00end <|endoftext|> of it"


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("store")
    for name, algorithm in (("words", "wordpiece"), ("bytes", "bpe")):
        directory = root / name
        directory.mkdir()
        train([TEXT * 20], algorithm=algorithm, vocab_size=300).save(directory)
        os.utime(directory / "tokenizer.json", (1, 1) if name == "words" else None)
    return root


@pytest.fixture
def llmkit(store):
    def run(*args: str, data: bytes | str = b"", env=None, **options) -> subprocess.CompletedProcess[bytes]:
        data = data.encode() if isinstance(data, str) else data
        environment = {**os.environ, "LLMKIT_STORE": str(store), **(env or {})}
        command = [sys.executable, "-m", "llmkit", "tokenize", *map(str, args)]
        return subprocess.run(command, input=data, capture_output=True, env=environment, **options)

    return run


@pytest.fixture
def inside(store, monkeypatch, capfdbinary):
    """Run in this process, which is faster: returns (exit code, stdout, stderr)."""
    import io

    from llmkit.cli.app import run

    def call(*args: str, data: bytes = b"") -> tuple[int, bytes, bytes]:
        monkeypatch.setenv("LLMKIT_STORE", str(store))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
        code = run(["tokenize", *map(str, args)])
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return code, out, err

    return call


lines = st.text(st.characters(codec="utf-8") | st.sampled_from("\n\n\r \0a")).map(str.encode)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(data=lines)
def test_ids_decoded_are_the_input_byte_for_byte(inside, data):
    code, ids, _ = inside("--ids", data=data)
    assert code == 0
    assert ids.count(b"\n") == data.count(b"\n")
    assert inside("--decode", data=ids)[:2] == (0, data)


def test_ids_are_those_of_the_library_one_record_a_line(inside, store):
    library = Library.from_file(str(store / "bytes" / "tokenizer.json"))
    out = inside("--ids", data=TEXT.encode())[1].decode()
    expected = [library.encode(line, add_special_tokens=False).ids for line in TEXT.split("\n")]
    assert [list(map(int, line.split())) for line in out.split("\n")] == expected
    assert inside(data=TEXT.encode())[1].decode() == out  # the default in a pipe


def test_count_is_of_the_whole_text_line_ends_included(inside, store, tmp_path):
    n = len(Library.from_file(str(store / "bytes" / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids)
    assert inside("--count", data=TEXT.encode())[1] == f"{n}\n".encode()
    (tmp_path / "a").write_text(TEXT, newline="")
    (tmp_path / "b").write_text("")
    out = inside("--count", tmp_path / "a", tmp_path / "b")[1].decode().splitlines()
    assert out == [f"{n}\t{tmp_path / 'a'}", f"0\t{tmp_path / 'b'}", f"{n}\ttotal"]
    body = json.loads(inside("--count", "--json", data=TEXT.encode())[1])
    assert body["schema"] == "llmkit/tokenize/1"
    assert (body["tokens"], body["bytes"]) == (n, len(TEXT.encode()))
    assert json.loads(inside("--count", "--json")[1])["bytes_per_token"] is None


def test_tokens_and_offsets_are_one_record_a_line(inside):
    assert inside("--tokens", data=b"the cat\n")[1].split() == inside("--tokens", data=b"the cat")[1].split()
    tokens = inside("--tokens", data="naïve cat\n".encode())[1].decode().split()
    assert "".join(tokens).replace("Ġ", " ") == "naÃ¯ve cat"
    spans = [tuple(map(int, s.split(b":"))) for s in inside("--offsets", data="naïve cat\n".encode())[1].split()]
    assert len(spans) == len(tokens)
    assert spans[-1][1] == 9


def test_json_lines_hold_ids_tokens_and_offsets(inside):
    records = [json.loads(line) for line in inside("--jsonl", data=b"the cat\nmore\n")[1].splitlines()]
    assert all(len(r["ids"]) == len(r["tokens"]) == len(r["offsets"]) for r in records)
    assert set(records[0]) == {"ids", "tokens", "offsets"}
    assert json.loads(inside("--json", data=b"the")[1])["schema"] == "llmkit/tokenize/1"


def test_json_lines_are_read_by_field_and_decode_again(inside):
    data = b'{"text": "one\\ntwo", "n": 1}\n\n{"text": "caf\xc3\xa9"}\n'
    out = inside("--jsonl", "--field", "text", data=data)[1]
    back = [json.loads(line)["text"] for line in inside("--decode", "--jsonl", data=out)[1].splitlines()]
    assert back == ["one\ntwo", "café"]
    assert inside("--ids", "--field", "text", data=data)[1].count(b"\n") == 2


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        (b'{"txt": "x"}\n', 2, "stdin:1: no field 'text'"),
        (b'{"text": "x"}\n{"text": 3}\n', 4, "stdin:2: field 'text' is not text"),
        (b'{"text": "x"}\nnot json\n', 4, "stdin:2 is not JSON"),
        (b"[1]\n", 4, "stdin:1 is not a JSON object"),
        (b'{"text": "\\ud800"}\n', 4, "stdin:1: half of a surrogate pair"),
    ],
)
def test_bad_records_are_named_by_line(inside, data, code, message):
    got, _, err = inside("--field", "text", data=data)
    assert got == code
    assert message in err.decode()
    assert "Traceback" not in err.decode()


def test_packed_ids_come_with_a_header(inside, store, tmp_path):
    (tmp_path / "a.txt").write_text("the cat\nmore")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"and dinner"))
    out = tmp_path / "corpus.bin"
    code, stdout, _ = inside("--out", out, tmp_path / "a.txt", tmp_path / "b.txt.gz")
    assert (code, stdout.decode()) == (0, f"{out}\n")
    tokenizer = Tokenizer.from_file(store / "bytes")
    ids = array("H", out.read_bytes())
    assert tokenizer.decode(ids) == "the cat\nmore<|endoftext|>and dinner<|endoftext|>"
    header = json.loads((tmp_path / "corpus.bin.json").read_text())
    assert (header["dtype"], header["ids"], header["documents"]) == ("<u2", len(ids), 2)
    assert header["tokenizer_sha256"] == tokenizer.sha256
    assert inside("--out", out, tmp_path / "a.txt")[0] == 2  # there already
    (tmp_path / "alone.json").write_text("mine")
    assert inside("--out", tmp_path / "alone", tmp_path / "a.txt")[0] == 2  # its header would replace it
    assert inside("--out", out, "--force", tmp_path / "a.txt")[0] == 0
    assert tokenizer.decode(array("H", out.read_bytes())) == "the cat\nmore<|endoftext|>"


@pytest.mark.parametrize("link", ["itself", "symlink", "hard link", "header", "tokenizer"])
def test_a_pack_never_takes_the_place_of_what_it_reads(inside, store, tmp_path, link):
    source, out = tmp_path / "a.json", tmp_path / "out"
    source.write_text("the cat")
    args = [source]
    if link == "itself":
        out = source
    elif link == "symlink":
        out.symlink_to(source)
    elif link == "hard link":
        out.hardlink_to(source)
    elif link == "header":
        out = tmp_path / "a"
    else:
        source.write_bytes((store / "bytes" / "tokenizer.json").read_bytes())
        out, args = source, ["-t", source]
    before = source.read_bytes()
    code, _, err = inside("--out", out, "--force", *args, data=b"x")
    assert code == 2
    assert b"is an input" in err
    assert source.read_bytes() == before


def test_a_pack_spares_what_is_redirected_into_it(store, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("the cat")
    command = [sys.executable, "-m", "llmkit", "tokenize", "--store", store, "--out", source, "--force"]
    with source.open() as stdin:
        assert subprocess.run(command, stdin=stdin, capture_output=True).returncode == 2
    assert source.read_text() == "the cat"


def test_a_failed_pack_leaves_no_file(inside, tmp_path):
    code, _, err = inside("--out", tmp_path / "corpus.bin", data=b"good\n" * 100_000 + b"\xff")
    assert code == 4
    assert "byte 500000 (0xff) is not valid UTF-8" in err.decode()
    assert list(tmp_path.iterdir()) == []
    assert inside("--out", tmp_path / "no" / "where.bin", data=b"x")[0] == 74
    os.mkfifo(tmp_path / "pipe")
    assert inside("--out", tmp_path / "pipe", "--force", data=b"x")[0] == 2
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_pack_that_is_stopped_leaves_no_file(store, tmp_path, name):
    command = [sys.executable, "-m", "llmkit", "tokenize", "-t", "bytes", "--store", store, "--out", tmp_path / "x.bin"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    while not list(tmp_path.iterdir()):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.1)  # the handler is in place right after the file
    process.send_signal(getattr(signal, name))
    process.wait(10)
    process.stdin.close()
    assert process.returncode in (130, -getattr(signal, name))
    assert list(tmp_path.iterdir()) == []


def test_special_tokens_are_added_on_request(inside):
    assert inside("-t", "words", "--add-special", "--tokens", data=b"the cat\n")[1].split()[::10] == [b"[CLS]"]
    assert inside("-t", "words", "--tokens", data=b"the cat\n")[1].split()[0] != b"[CLS]"


def test_the_newest_tokenizer_is_used_and_said(inside, store):
    code, _, err = inside("--count", data=b"x")
    assert (code, err) == (0, b"tokenizer: bytes\n")
    assert inside("--count", "-q", data=b"x")[2] == b""
    assert inside("--count", "-t", store / "bytes", data=b"x")[2] == b""
    assert inside("--count", "-t", store / "bytes" / "tokenizer.json", data=b"x")[2] == b""


def test_an_empty_store_names_what_to_run_first(inside, tmp_path):
    code, out, err = inside("--store", tmp_path, data=b"x")
    assert (code, out) == (2, b"")
    assert b"llmkit train-bpe FILE" in err
    assert b"did you mean 'words'" in inside("-t", "wrods", data=b"x")[2]


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("/no/such/file",), 74, "no such file: /no/such/file"),
        (("/",), 4, "/ is a directory"),
        (("--ids", "--count"), 2, "--ids and --count exclude each other"),
        (("--errors", "ignore"), 2, "--errors is 'ignore'"),
        (("-t", "/no/such/dir/"), 74, "/no/such/dir"),
        (("--decode",), 4, "stdin:1: '\\ufffd' is not a token id"),
    ],
)
def test_wrong_use_ends_with_one_clear_line(inside, args, code, message):
    got, out, err = inside(*args, *(("--errors", "replace") if "--decode" in args else ()), data=b"\xff\n")
    assert (got, out) == (code, b"")
    assert message.replace("\\ufffd", "\ufffd") in err.decode()
    assert err.startswith(b"error: ")
    assert len(err.splitlines()) <= 2


def test_invalid_utf8_is_refused_at_its_byte_or_replaced(inside):
    code, _, err = inside(data=b"good\nbad \xe9!\n")
    assert code == 4
    assert "stdin: byte 9 (0xe9) is not valid UTF-8" in err.decode()
    ids = inside("--errors", "replace", data=b"bad \xe9!\n")[1]
    assert inside("--decode", data=ids)[1].decode() == "bad \ufffd!\n"


def test_ids_outside_the_vocabulary_are_refused(inside):
    code, _, err = inside("--decode", data=b"1 2\n999999\n")
    assert code == 4
    assert "id 999999 is not in the vocabulary" in err.decode()


def test_a_reader_that_stops_ends_it_at_once_and_silently(store):
    command = f"yes text | {sys.executable} -m llmkit tokenize - | head -1"
    start = time.perf_counter()
    environment = {**os.environ, "LLMKIT_STORE": str(store)}
    done = subprocess.run(command, shell=True, capture_output=True, env=environment, timeout=60)
    assert done.stdout.strip().replace(b" ", b"").isdigit()
    assert done.stderr == b""
    assert time.perf_counter() - start < 20  # 0.3 s where the machine is free; an endless loop otherwise


def test_a_line_is_answered_before_the_next_is_typed(store):
    environment = {**os.environ, "LLMKIT_STORE": str(store)}
    command = [sys.executable, "-m", "llmkit", "tokenize", "-q"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        for _ in range(3):
            process.stdin.write(b"the cat\n")
            process.stdin.flush()
            assert process.stdout.readline().strip()
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_a_line_of_many_megabytes_takes_little_memory(llmkit, store, tmp_path):
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to know its memory")
    path = tmp_path / "long"
    path.write_bytes(b"word " * 2_000_000 + b"x" * 2_000_000)
    code = (  # VmHWM, because ru_maxrss remembers the size of the process that started this one
        "import sys\nfrom llmkit.cli.app import run\ncode = run(sys.argv[1:])\n"
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) // 1024, file=sys.stderr)\nsys.exit(code)"
    )
    command = [sys.executable, "-c", code, "tokenize", "-q", "--ids", str(path)]
    environment = {**os.environ, "LLMKIT_STORE": str(store)}
    with open(tmp_path / "ids", "wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, env=environment, check=True)
    assert int(done.stderr) < 150  # MiB; as objects its ids alone would be 300
    assert llmkit("--decode", "-q", tmp_path / "ids").stdout == path.read_bytes()


def test_a_full_disk_is_one_clear_line(store):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    environment = {**os.environ, "LLMKIT_STORE": str(store)}
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "llmkit", "tokenize", "-q"]
        done = subprocess.run(command, input=b"x\n", stdout=full, stderr=subprocess.PIPE, env=environment)
    assert done.returncode == 74
    assert done.stderr.startswith(b"error: ")
    assert b"Traceback" not in done.stderr


def test_a_terminal_gets_tinted_tokens_and_nothing_that_could_control_it(store, tmp_path):
    (tmp_path / "x").write_bytes("the cat \x1b[31m\u202e 東\n".encode())
    environment = {**os.environ, "LLMKIT_STORE": str(store), "TERM": "xterm-256color"}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM"):
        environment.pop(name, None)
    shown = in_terminal(["tokenize", "-q", str(tmp_path / "x")], environment)
    assert "\x1b[38;5;16;48;5;" in shown
    assert "·" in shown
    assert "↵" in shown
    assert "␛" in shown
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown
    plain = in_terminal(["tokenize", "-q", str(tmp_path / "x")], {**environment, "NO_COLOR": "1"})
    assert "\x1b" not in plain
    assert "|" in plain
    summary = in_terminal(["tokenize", str(tmp_path / "x")], environment)
    assert "bytes/token" in summary


def in_terminal(args: list[str], environment: dict[str, str]) -> str:
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "llmkit", *args]
    with subprocess.Popen(command, stdout=child, stderr=child, stdin=child, env=environment) as process:
        os.close(child)
        seen = b""
        while True:
            try:
                block = os.read(parent, 4096)
            except OSError:  # Linux's way of saying that the other side is closed
                break
            if not block:
                break
            seen += block
        assert process.wait(timeout=60) == 0
    os.close(parent)
    return seen.decode()


def test_without_input_on_a_terminal_it_shows_how_to_use_it(store):
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "llmkit", "tokenize"]
    done = subprocess.run(command, stdin=child, capture_output=True, timeout=60)
    os.close(parent)
    os.close(child)
    assert done.returncode == 2
    assert b"usage: llmkit tokenize" in done.stderr
