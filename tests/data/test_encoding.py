import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from llmkit.data import encoding
from llmkit.data.corpus import TokenCorpus
from llmkit.data.encoding import Alone, Helped, encoder_for
from llmkit.data.parallel_split import open_pairs
from llmkit.data.sources import open_source
from llmkit.errors import InputRefused, LlmkitError
from llmkit.tokenization.train import train

BATCHES = [(i, [f"Text {i}, some words. More of them!", "", f"Ünï {i}"]) for i in range(9)]


@pytest.fixture(scope="module")
def tokenizer():
    return train(open_source("stories", stories=30).documents(), vocab_size=500)


@pytest.fixture
def many(monkeypatch):
    """Any text is worth two helpers."""
    monkeypatch.setattr(encoding, "WORTH", 0)
    monkeypatch.setattr(encoding, "_n_cores", lambda: 2)


def plain(answers):
    return [(what, [[list(part) for part in parts] for parts in rows]) for what, rows in answers]


@pytest.mark.parametrize("sentences", [False, True])
def test_helpers_give_the_same_ids_in_the_same_order(tokenizer, sentences):
    helped = Helped(tokenizer.to_json(), sentences, "H", 3)
    expected = plain(Alone(tokenizer.encode_batch, sentences).run(BATCHES))
    assert plain(helped.run(BATCHES)) == expected
    assert len(expected[0][1][0]) == (2 if sentences else 1)


@pytest.mark.parametrize("form", ["stream", "sentences", "coded", "pairs"])
def test_a_corpus_made_with_helpers_is_the_same_corpus(tokenizer, tmp_path, many, form):
    def made(cache, with_helpers):
        source = open_source("stories", stories=60, coded=form == "coded")
        codes = {code: i for i, code in enumerate(source.codes())} if form == "coded" else None
        if form == "pairs":
            source = open_pairs("stories", pair="mirror", stories=60)
        return TokenCorpus.build(
            source, tokenizer.encode_batch, cache=tmp_path / cache, tokenizer_digest="t", vocab_size=500, codes=codes,
            sentences=form == "sentences", tokenizer=tokenizer.to_json() if with_helpers else None,
        )  # fmt: skip

    alone, helped = made("a", False), made("b", True)
    for name in ("ids", "document_starts", "sentence_starts", "document_sentences"):
        assert np.array_equal(getattr(alone, name), getattr(helped, name))
    assert alone.report == helped.report
    assert (alone.path / "digests.bin").read_bytes() == (helped.path / "digests.bin").read_bytes()
    if form == "pairs":
        assert np.array_equal(alone.target.ids, helped.target.ids)


def test_small_texts_and_unknown_tokenizers_get_no_helpers(tokenizer, monkeypatch):
    def chosen(tokenizer_json, n_bytes, cores=2):
        monkeypatch.setattr(encoding, "_n_cores", lambda: cores)
        return type(encoder_for(len, tokenizer_json, n_bytes=n_bytes, vocab_size=500, sentences=False))

    json = tokenizer.to_json()
    assert chosen(json, 10**9) is Helped
    assert chosen(json, 10**6) is chosen(None, 10**9) is chosen(json, 10**9, cores=1) is Alone


def helpers():
    """The processes that encode for this one."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = stat.read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and "encode_worker" in stat.with_name("cmdline").read_text():
                found.add(int(stat.parent.name))
    return found


@pytest.fixture
def broken_pipes_end_the_program():
    before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGPIPE, before)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.usefixtures("broken_pipes_end_the_program")
def test_a_helper_that_dies_is_an_error_and_leaves_no_process(tokenizer):
    answers = Helped(tokenizer.to_json(), False, "H", 2).run(BATCHES * 50)
    next(answers)
    assert len(helpers()) == 2
    for pid in helpers():
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(LlmkitError, match="a process that tokenizes has died"):
        list(answers)
    assert not helpers()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_who_stops_asking_leaves_no_process(tokenizer):
    answers = Helped(tokenizer.to_json(), False, "H", 2).run(BATCHES * 50)
    next(answers)
    assert helpers()
    answers.close()
    assert not helpers()


def test_a_helper_that_cannot_begin_is_an_error():
    with pytest.raises(LlmkitError, match="a process that tokenizes has died"):
        list(Helped(b"{}", False, "H", 1).run(BATCHES))


def test_what_a_helper_refuses_is_refused_here():
    with pytest.raises(InputRefused, match="not this text"):
        encoding.opened(b"!not this text", 3, "H")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_process_that_is_killed_takes_its_helpers_along(tokenizer, tmp_path):
    (tmp_path / "t.json").write_bytes(tokenizer.to_json())
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from llmkit.data import encoding\n"
        "made = encoding._Helper(encoding.Helped(Path(sys.argv[1]).read_bytes(), False, 'H', 1))\n"
        "assert made.encode(['some words'])\n"
        "print(made.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.json")], capture_output=True, timeout=100)
    helper = Path(f"/proc/{int(out.stdout)}/cmdline")
    for _ in range(300):
        # Gone, or dead and not yet collected by whoever inherits orphans here.
        if not helper.exists() or not helper.read_bytes():
            return
        time.sleep(0.1)
    raise AssertionError("the helper lives on")
