"""A store with small random models, and ways to run a command in this process in front of a pipe or a terminal."""

import os
import pty
import sys
import threading
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """gpt (decoder), bert (fill-mask) and moods (classifier), written once; oldest first: bert, moods, gpt."""
    import torch

    from llmkit.checkpoint.hf_layout import write_model
    from llmkit.models.registry import load_family
    from llmkit.tokenization.train import train

    store = tmp_path_factory.mktemp("store")
    text = "the cat sat on the mat . a dog ran to the red house and the cat saw it ! é 你好 😀"
    words = text.split(" ")
    lines = [" ".join(words[i:] + words[:i]) for i in range(len(words))] * 3
    sizes = {"d_model": 32, "n_layers": 2, "n_heads": 2, "max_seq_len": 48}
    made = (
        ("bert", "bert", "wordpiece", {"head": "masked_lm"}),
        ("moods", "bert", "wordpiece", {"head": "classification", "labels": ("sad", "glad", "calm")}),
        ("gpt", "gpt2", "bpe", {"head": "causal_lm"}),
    )
    for moment, (name, family_name, algorithm, fields) in enumerate(made):
        tokenizer = train(lines, algorithm=algorithm, vocab_size=320)
        directory = store / name
        directory.mkdir()
        tokenizer.save(directory)
        torch.manual_seed(1)
        family = load_family(family_name)
        ids = {"pad_id": tokenizer.pad_id, "eos_id": tokenizer.eos_id, "bos_id": tokenizer.bos_id}
        config = family.config_class(vocab_size=tokenizer.vocab_size, **sizes, **fields, **ids)
        model = family.build(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0, 0.3)
        write_model(directory, model)
        os.utime(directory / "config.json", ns=(0, 10**18 + moment * 10**9))
    return store


@pytest.fixture
def llmkit(small_store, monkeypatch, capfdbinary):
    """Run a command line in this process: llmkit("generate", ..., stdin=b"...") -> code, out, err (bytes)."""
    monkeypatch.setenv("LLMKIT_STORE", str(small_store))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def run(*args, stdin=b""):
        from llmkit.cli.app import run as run_app

        reading, writing = os.pipe()
        feeder = threading.Thread(target=lambda: (os.write(writing, stdin) if stdin else None, os.close(writing)))
        feeder.start()
        if (
            len(stdin) <= 4096
        ):  # fits into any pipe: there before the command may end without reading, and so no SIGPIPE
            feeder.join()
        with monkeypatch.context() as patched, os.fdopen(reading) as pipe:
            patched.setattr(sys, "stdin", pipe)
            code = run_app([*args])
        feeder.join()
        sys.stdout.flush()
        out, err = capfdbinary.readouterr()
        return SimpleNamespace(code=code, out=out, err=err.decode())

    return run


@pytest.fixture
def on_terminal(small_store, monkeypatch, capfdbinary):
    """Run a command line in this process with stdout (and stdin, unless given) on a terminal; what the terminal got."""
    monkeypatch.setenv("LLMKIT_STORE", str(small_store))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*args):
        from llmkit.cli.app import run as run_app

        controller, terminal = pty.openpty()
        shown = []

        def watch():
            try:
                while data := os.read(controller, 65536):
                    shown.append(data)
            except OSError:  # the other side was closed
                pass

        watcher = threading.Thread(target=watch)
        watcher.start()
        with (
            monkeypatch.context() as patched,
            os.fdopen(os.dup(terminal), "w") as out,
            os.fdopen(os.dup(terminal)) as stdin,
        ):
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stdin", stdin)
            code = run_app([*args])
        os.close(terminal)
        watcher.join()
        os.close(controller)
        text = b"".join(shown).decode().replace("\r\n", "\n")
        return SimpleNamespace(code=code, shown=text, err=capfdbinary.readouterr().err.decode())

    return run
