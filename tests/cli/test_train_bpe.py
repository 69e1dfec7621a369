"""`llmkit train-bpe` as its user meets it."""

import gzip
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from llmkit.tokenization.tokenizer import Tokenizer

TEXT = "the cat sat on the mat; the dog didn't.\n\nthe end of the naïve story, 東京\n"


@pytest.fixture
def train_bpe(tmp_path, monkeypatch, capfd):
    """Run in this process, in an empty directory: returns (exit code, stdout, stderr)."""
    from llmkit.cli.app import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMKIT_STORE", str(tmp_path / "runs"))

    def call(*args: object, data: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))
        code = run(["train-bpe", *map(str, args)])
        sys.stdout.flush()
        return (code, *capfd.readouterr())

    return call


@pytest.fixture
def corpus(tmp_path) -> Path:
    path = tmp_path / "my corpus.v2.txt"
    path.write_text(TEXT * 30, encoding="utf-8")
    return path


def test_stdout_is_the_path_and_stderr_the_report(train_bpe, corpus, tmp_path):
    code, out, err = train_bpe(corpus)
    assert (code, out) == (0, f"{tmp_path}/runs/my-corpus-bpe/tokenizer.json\n")
    tokenizer = Tokenizer.from_file(Path(out.strip()))
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert f"vocabulary: {tokenizer.vocab_size} tokens instead of 8,192" in err
    assert "bytes/token" in err
    assert "round trip exact" in err
    assert train_bpe(corpus, "--force", "--quiet")[2] == ""


def test_json_has_what_the_report_has(train_bpe, corpus):
    body = json.loads(train_bpe(corpus, "--json", "--name", "x")[1])
    tokenizer = Tokenizer.from_file(Path(body["path"]))
    assert body["schema"] == "llmkit/train-bpe/1"
    assert body["sha256"] == tokenizer.sha256
    assert body["vocab_size"] == tokenizer.vocab_size
    assert body["bytes_per_token"] > 1
    assert body["round_trip"] is True


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece", "unigram", "char"])
def test_every_algorithm_can_be_used_at_once(train_bpe, corpus, algorithm):
    code, out, _ = train_bpe(corpus, "-a", algorithm, "--vocab-size", 300, "--out", "here")
    assert (code, out) == (0, "here/tokenizer.json\n")
    assert Tokenizer.from_file(Path("here")).vocab_size <= 300


def test_a_tokenizer_that_is_there_is_only_replaced_by_force(train_bpe, corpus):
    train_bpe(corpus, "--name", "x", "--vocab-size", 260)
    before = Path("runs/x/tokenizer.json").read_bytes()
    code, out, err = train_bpe(corpus, "--name", "x", "--vocab-size", 270)
    assert (code, out) == (2, "")
    assert "runs/x/tokenizer.json exists" in err
    assert "--force" in err
    assert Path("runs/x/tokenizer.json").read_bytes() == before
    assert train_bpe(corpus, "--name", "x", "--vocab-size", 270, "--force")[0] == 0
    assert Tokenizer.from_file(Path("runs/x")).vocab_size == 270
    assert "another --name" in err
    assert "another --out" in train_bpe(corpus, "--out", "runs/x")[2]


def test_packed_files_stdin_and_several_files_are_one_text(train_bpe, tmp_path):
    parts = [TEXT * 20, "another part " * 40, "and more\n" * 40]
    (tmp_path / "a.txt").write_text(parts[0], encoding="utf-8")
    (tmp_path / "b.gz").write_bytes(gzip.compress(parts[1].encode()))
    (tmp_path / "whole.txt").write_text(parts[0] + parts[2], encoding="utf-8")
    assert train_bpe("a.txt", "b.gz", "-", "--out", "x", data=parts[2].encode())[0] == 0
    assert train_bpe("-", "--out", "y", data=(parts[0] + parts[2]).encode())[0] == 0
    assert train_bpe("whole.txt", "--out", "z")[0] == 0
    digests = [Tokenizer.from_file(Path(name)).sha256 for name in "xyz"]
    assert digests[1] == digests[2] != digests[0]


def test_a_large_text_keeps_some_for_the_report(train_bpe, tmp_path):
    (tmp_path / "large.txt").write_text(TEXT * 20_000, encoding="utf-8")
    body = json.loads(train_bpe("large.txt", "--json")[1])
    assert body["held_out"] is True
    assert body["sample_bytes"] < 300_000


def test_builtin_stories_need_no_file(train_bpe):
    code, out, _ = train_bpe("stories", "--vocab-size", 400, "-q")
    assert (code, out.endswith("runs/stories-bpe/tokenizer.json\n")) == (0, True)


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("nosuch.txt",), 74, "no such file: nosuch.txt"),
        (("empty.txt",), 4, "empty.txt is empty"),
        (("latin.txt",), 4, "latin.txt: byte 3 (0xe9) is not valid UTF-8"),
        (("blank.txt", "-a", "wordpiece"), 4, "no words, only white space"),
        (("good.txt", "--vocab-size", "10"), 2, "no room for 256 single symbols"),
        (("good.txt", "--vocab-size", "0"), 2, "vocab_size is 0"),
        (("good.txt", "-a", "wordpeice"), 2, "no algorithm 'wordpeice'"),
        (("good.txt", "--name", "../x"), 2, "'../x'"),
        (("good.txt", "--out", "good.txt"), 74, "good.txt: Not a directory"),
        (("good.txt", "--out", "good.txt/x"), 74, "good.txt/x: Not a directory"),
        (("tokenizer.json", "--out", ".", "--force"), 2, "tokenizer.json is an input"),
        (("good.txt", "--errors", "ignore"), 2, "--errors is 'ignore'"),
    ],
)
def test_wrong_use_ends_with_one_clear_line_and_leaves_nothing(train_bpe, tmp_path, args, code, message):
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "blank.txt").write_bytes(b" \n \n")
    (tmp_path / "good.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(TEXT, encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    got, out, err = train_bpe(*args)
    assert (got, out) == (code, "")
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in err
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "runs"] == before


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("latin.txt", b"caf\xe9 " * 20),
        ("latin.jsonl", b'{"text": "caf\xe9 caf\xe9"}\n' * 20),
        ("nul.txt", b"a\0b " * 20),
    ],
)
def test_bytes_that_are_not_text_are_refused_with_the_flag_that_replaces_them(train_bpe, tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    code, _, err = train_bpe(file)
    assert code == 4
    assert "--errors replace" in err
    assert train_bpe(file, "--errors", "replace")[0] == 0


def test_a_training_run_is_left_alone(train_bpe, corpus, tmp_path):
    from llmkit.checkpoint.store import RunDirectory

    with (run := RunDirectory(tmp_path / "runs" / "bert")).lock():
        run.save(10, lambda path: (path / "config.json").write_text("{}") and None, meta={})
    code, _, err = train_bpe(corpus, "--name", "bert", "--force")
    assert code == 2
    assert "is a training run" in err


def test_the_file_is_the_same_whatever_the_number_of_threads(corpus, tmp_path):
    seen = set()
    for threads in ("1", "2"):
        out = tmp_path / threads
        environment = {**os.environ, "RAYON_NUM_THREADS": threads}
        command = [sys.executable, "-m", "llmkit", "train-bpe", "-q", "-a", "wordpiece", str(corpus), "--out", str(out)]
        subprocess.run(command, check=True, env=environment, capture_output=True)
        seen.add((out / "tokenizer.json").read_bytes())
    assert len(seen) == 1


def test_a_terminal_sees_progress_and_is_left_clean(corpus, tmp_path):
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "llmkit", "train-bpe", str(corpus), "--out", str(tmp_path / "x")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "70"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=child, stdin=child, env=environment) as process:
        os.close(child)
        seen = b""
        while True:
            try:
                block = os.read(parent, 4096)
            except OSError:
                break
            seen += block
        assert process.stdout.read().decode().strip() == str(tmp_path / "x" / "tokenizer.json")
    os.close(parent)
    shown = seen.decode()
    assert "merge" in shown
    assert shown.rstrip().endswith("s")  # the report, with its seconds
    assert shown.count("\x1b[?25h") >= shown.count("\x1b[?25l")  # the cursor is back
