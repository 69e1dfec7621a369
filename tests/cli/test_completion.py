"""Completion: generated from the commands, fast at TAB, and safe with any name a file can have."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmkit.cli import complete
from llmkit.cli.completion import SHELLS, generated_files, script
from llmkit.cli.shells.tree import program
from llmkit.recipe import builtin_names

CHECKOUT = Path(__file__).parents[2]
HOSTILE = [
    "my recipe.yaml",
    "$(touch pwned).yaml",
    "it's.yaml",
    'y"b.yaml',
    "star*.yaml",
    "back`tick.yaml",
    "-dash.yaml",
]
DROPPED = ["evil\nname.yaml", "esc\x1b[2J.yaml", "tab\tname.yaml", "bidi\u202e.yaml", "bell\x07.yaml"]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory with a store, recipes of hostile names, and `llmkit` on the PATH."""
    for run, steps in {"bert-mini": (400, 800), "gpt": (10,)}.items():
        for step in steps:
            (tmp_path / "runs" / run / f"step-{step:06d}").mkdir(parents=True)
            (tmp_path / "runs" / run / f"step-{step:06d}" / "manifest.json").touch()
    (tmp_path / "runs" / "gpt" / "step-000099").mkdir()  # never committed: no manifest
    old = time.time() - 3 * 3600
    os.utime(tmp_path / "runs" / "gpt" / "step-000010", (old, old))
    (tmp_path / "runs" / "tok").mkdir()
    (tmp_path / "runs" / "tok" / "tokenizer.json").touch()
    for name in HOSTILE + DROPPED:
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    start = tmp_path / "bin" / "llmkit"
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmkit "$@"\n')
    start.chmod(0o755)
    monkeypatch.setenv("PATH", f"{start.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("LLMKIT_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(capfdbinary, *arguments):
    assert complete.main([*arguments]) == 0
    out = capfdbinary.readouterr().out.decode("utf-8")
    return dict(line.split("\t") for line in out.splitlines())


# What the commands are, the scripts say.


def test_the_shipped_files_are_what_the_commands_give():
    for path, text in generated_files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale; run: python -m llmkit.cli.completion"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_every_long_option_is_in_every_script(shell):
    text = script(shell)
    for command in program().walk():
        assert command.name in text
        for option in command.options:
            for name in option.names:
                in_fish = f"-l {name[2:]} " if name.startswith("--") else f"-s {name[1:]} "
                assert (in_fish if shell == "fish" else name) in text


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_parses_in_its_shell(shell, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(script(shell))
    done = subprocess.run([shell, "-n", str(path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", [*SHELLS, "tcsh", "bsh"])
def test_the_command_prints_the_script_or_names_the_shells_there_are(shell, capsys):
    from llmkit.cli.app import run

    code = run(["completion", shell])
    captured = capsys.readouterr()
    if shell in SHELLS:
        assert (code, captured.out) == (0, script(shell))
    else:
        assert code == 2
        assert "bash" in captured.err


# The words that depend on files.


def test_recipes_are_the_built_in_ones_and_the_files_nearby(place, capfdbinary):
    found = words(capfdbinary, "recipes", "")
    assert [name for name in found if found[name] == "built in"] == builtin_names()
    assert set(HOSTILE) <= set(found)
    assert words(capfdbinary, "recipes", "bert") == {"bert-mini": "built in"}


def test_names_with_control_characters_are_dropped(place, capfdbinary):
    assert not set(DROPPED) & set(words(capfdbinary, "recipes", ""))


def test_checkpoints_are_newest_first_with_step_and_age(place, capfdbinary):
    assert words(capfdbinary, "checkpoints", "") == {"bert-mini": "step 800, just now", "gpt": "step 10, 3 h ago"}
    assert list(words(capfdbinary, "checkpoints", "bert-mini@")) == ["bert-mini@800", "bert-mini@400"]
    assert list(words(capfdbinary, "checkpoints", "bert-mini@4")) == ["bert-mini@400"]


def test_tokenizers_come_before_the_checkpoints_that_hold_one(place, capfdbinary):
    assert list(words(capfdbinary, "tokenizers", "")) == ["tok", "bert-mini", "gpt"]


def test_the_store_may_be_elsewhere_or_nowhere(place, capfdbinary, monkeypatch):
    monkeypatch.setenv("LLMKIT_STORE", str(place / "nowhere"))
    assert words(capfdbinary, "checkpoints", "") == {}
    (place / "other" / "x" / "step-000001").mkdir(parents=True)
    (place / "other" / "x" / "step-000001" / "manifest.json").touch()
    monkeypatch.setenv("LLMKIT_STORE", str(place / "other"))
    assert list(words(capfdbinary, "checkpoints", "")) == ["x"]


def test_recipe_keys_end_in_an_equals_sign_and_then_offer_their_values(capfdbinary):
    assert "train.lr=" in words(capfdbinary, "recipe-keys", "train.")
    assert list(words(capfdbinary, "recipe-keys", "train.schedule=co")) == [
        "train.schedule=cosine",
        "train.schedule=constant",
    ]
    assert list(words(capfdbinary, "recipe-keys", "objective.next_sentence=")) == [
        "objective.next_sentence=true",
        "objective.next_sentence=false",
    ]
    assert words(capfdbinary, "recipe-keys", "train.lr=") == {}
    assert "train.lr" in words(capfdbinary, "recipe-key-names", "train.l")


def test_at_most_200_words_are_offered(place, capfdbinary):
    for i in range(300):
        (place / f"recipe-{i}.yaml").touch()
    assert len(words(capfdbinary, "recipes", "")) == complete.MOST == 200


@pytest.mark.parametrize(
    "arguments",
    [[], ["recipes"], ["nonsense", "x"], ["checkpoints", "../../etc@"], ["checkpoints", "\0@"], ["recipes", "\udcff"],
     ["recipe-keys", "="], ["a", "b", "c"]],
)  # fmt: skip
def test_whatever_is_asked_the_exit_code_is_0_and_stderr_is_silent(place, arguments):
    if any("\0" in a for a in arguments):
        assert complete.main(arguments) == 0
        return
    done = subprocess.run([sys.executable, "-m", "llmkit", "__complete", *arguments], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_or_a_closed_pipe_does_not_disturb():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "llmkit", "__complete", "recipes", ""]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_words_in_an_ascii_locale_are_still_utf_8(place):
    (place / "épique.yaml").touch()
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-X", "utf8=0", "-m", "llmkit", "__complete", "recipes", ""]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0
    assert b"bert-mini" in done.stdout


def test_looking_up_words_imports_the_standard_library_only():
    code = (
        "import sys; sys.argv = ['llmkit', '__complete', sys.argv[1], '']\n"
        "from llmkit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as e: assert e.code == 0\n"
        "tops = {m.split('.')[0] for m in sys.modules} - {*sys.stdlib_module_names, 'llmkit'}\n"
        "sys.stderr.write(' '.join(tops & {'typer', 'click', 'rich', 'yaml', 'torch', 'numpy', 'tokenizers'}))\n"
    )
    for kind in complete.SOURCES:
        done = subprocess.run([sys.executable, "-c", code, kind], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), kind


# The real shells, with the TAB key.

START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source {file}"),
    "zsh": (["zsh", "-f", "-i"], "fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D"),
    "fish": (["fish", "--no-config", "-i"], "source {file}"),
}
TYPED = {
    "llmkit reci": ["llmkit", "recipe"],
    "llmkit recipe sh": ["llmkit", "recipe", "show"],
    "llmkit --color alw": ["llmkit", "--color", "always"],
    "llmkit --color=alw": ["llmkit", "--color=always"],
    "llmkit --color never pretrain bert-m": ["llmkit", "--color", "never", "pretrain", "bert-mini"],
    "llmkit recipe validate sst2 shake": ["llmkit", "recipe", "validate", "sst2", "shakespeare-char"],
    "llmkit pretrain sst2 --set train.sched": ["llmkit", "pretrain", "sst2", "--set", "train.schedule="],
    "llmkit pretrain --set train.schedule=cosi": ["llmkit", "pretrain", "--set", "train.schedule=cosine"],
    "llmkit generate --model gp": ["llmkit", "generate", "--model", "gpt"],
    "llmkit generate -m bert-mini@8": ["llmkit", "generate", "-m", "bert-mini@800"],
    "llmkit tokenize --tokenizer to": ["llmkit", "tokenize", "--tokenizer", "tok"],
    "llmkit recipe schema obj": ["llmkit", "recipe", "schema", "objective"],
    "llmkit completion zs": ["llmkit", "completion", "zsh"],
    "llmkit bench to": ["llmkit", "bench", "tokenize"],
    "llmkit inspect --columns dt": ["llmkit", "inspect", "--columns", "dtype"],
    "llmkit inspect --columns bytes,dt": ["llmkit", "inspect", "--columns", "bytes,dtype"],
    "llmkit inspect --columns=bytes,dt": ["llmkit", "inspect", "--columns=bytes,dtype"],
    "llmkit pretrain my": ["llmkit", "pretrain", "my recipe.yaml"],
    "llmkit pretrain it": ["llmkit", "pretrain", "it's.yaml"],
    "llmkit pretrain \\$": ["llmkit", "pretrain", "$(touch pwned).yaml"],
    "llmkit pretrain y": ["llmkit", "pretrain", 'y"b.yaml'],
    "llmkit pretrain star": ["llmkit", "pretrain", "star*.yaml"],
    "llmkit pretrain back": ["llmkit", "pretrain", "back`tick.yaml"],
}


class Typist:
    """Someone at a terminal: types keys into a shell and reads what the shell makes of them."""

    def __init__(self, shell, folder):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="dumb", PS1="$ ", PROMPT="$ ", LC_ALL="C.UTF-8", COLUMNS="250", HOME=str(folder))
            os.execvp(shell[0], shell)

    def read_until(self, pattern, seconds=60):
        seen, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.2)[0]:
                try:
                    seen += os.read(self.terminal, 65536)
                except OSError:
                    break
                if found := re.search(pattern, seen, re.DOTALL):
                    return found
        raise AssertionError(f"no {pattern!r} in {seen!r}")

    def type(self, keys):
        os.write(self.terminal, keys.encode())

    def arguments_after_tab(self, keys):
        """Type `keys` and TAB, then have the shell print the arguments it would run."""
        # Put before the line, once TAB is through: a command that prints its arguments one by one.
        self.type(f"{keys}\t\x01printf '<%s>' BEGIN \x05 DONE\n")
        found = self.read_until(rb"<BEGIN>(.*?)<DONE>").group(1)
        return re.findall(r"<(.*?)>", found.decode())

    def leave(self):
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_in_the_real_shell_and_quotes_what_it_must(shell, place):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    scripts = place / "scripts"
    scripts.mkdir()
    (scripts / SHELLS[shell]).write_text(script(shell))
    command, setup = START[shell]
    typist = Typist(command, place)
    try:
        typist.type(setup.format(file=scripts / SHELLS[shell], folder=scripts) + "; echo rea''dy\n")
        typist.read_until(rb"\bready\b")
        for keys, meant in TYPED.items():
            assert typist.arguments_after_tab(keys) == meant, keys
    finally:
        typist.leave()
    assert not (place / "pwned").exists()
