"""What `llmkit tokenize` still gives before the record it refuses, and how it says which one that is."""

import json

import pytest


@pytest.fixture
def tokenize(llmkit):
    return lambda *flags, stdin=b"": llmkit("tokenize", "-t", "gpt", *flags, stdin=stdin)


@pytest.mark.parametrize(
    ("flags", "data", "told"),
    [
        (("--jsonl", "--field", "text"), b'{"text": "the cat"}\n{"text": "sat"}\nbad\n{"text": "on"}\n', "stdin:3"),
        (("--jsonl",), b"the cat\nsat\non \xff it\nmat\n", "byte 15 (0xff)"),
        (("--ids",), b"the cat\nsat\non \xff it\nmat\n", "byte 15 (0xff)"),
        (("--tokens", "--field", "text"), b'"x"\n', "stdin:1"),
    ],
)
def test_records_before_a_bad_one_come_out(flags, data, told, tokenize):
    run = tokenize(*flags, stdin=data)
    assert run.code == 4
    assert told in run.err
    good = tokenize(*flags, stdin=b"".join(data.splitlines(keepends=True)[:2])) if b"cat" in data else None
    assert run.out == (good.out if good else b"")


@pytest.mark.parametrize("shape", ["--json", "--jsonl"])
@pytest.mark.parametrize("face", ["--ids", "--tokens", "--offsets"])
def test_json_and_another_face_exclude_each_other(shape, face, tokenize):
    run = tokenize(shape, face, stdin=b"the cat\n")
    assert (run.code, run.out) == (2, b"")
    assert f"{shape} and {face} exclude each other" in run.err


def test_decoding_gives_what_comes_before_a_bad_id_and_names_its_line(tokenize):
    ids = tokenize("--ids", stdin=b"the cat\nsat\n").out
    for bad in (b"999999\n", b"x\n"):
        run = tokenize("--decode", stdin=ids + bad + ids)
        assert run.code == 4
        assert "stdin:3: " in run.err
        assert run.out == b"the cat\nsat\n"
    run = tokenize("--decode", "--jsonl", stdin=b'{"ids": [%d]}\n{"ids": [999999]}\n' % int(ids.split()[0]))
    assert "stdin:2: id 999999 is not in the vocabulary" in run.err
    assert len([json.loads(line) for line in run.out.splitlines()]) == 1


@pytest.mark.parametrize("command", [("tokenize", "-t", "gpt", "--ids"), ("train-bpe", "--out", "out")])
def test_a_file_that_is_not_packed_as_its_name_says_is_told_so(command, llmkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt.gz").write_bytes(b"caf\xe9")
    run = llmkit(*command, "a.txt.gz")
    assert run.code == 4
    assert "it is not packed so" in run.err
    (tmp_path / "b.txt.gz").write_bytes(b"\x1f\x8b\x08\x00garbage")
    run = llmkit(*command, "b.txt.gz")
    assert run.code == 4
    assert "corrupt gzip data" in run.err
    assert "fix: " in run.err
