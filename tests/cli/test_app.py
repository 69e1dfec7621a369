"""The program itself: lazy, polite about errors, exact about exit codes."""

import os
import re
import subprocess
import sys

import pytest

from llmkit import errors
from llmkit.cli import app as program
from llmkit.cli.shells import tree
from llmkit.recipe.guess import guess_key
from llmkit.suggest import distance, nearest


def llmkit(*args: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "llmkit", *args], capture_output=True, text=True, **options)


def existing_commands() -> list[str]:
    return [*program.MAIN, *program.MORE]


@pytest.mark.parametrize("command", ["", *existing_commands()])
def test_help_needs_no_torch_and_fits_80_columns(command):
    code = (
        "import sys; from llmkit.cli.app import run\n"
        f"code = run([*{[command] if command else []!r}, '--help'])\n"
        "heavy = {'torch', 'numpy', 'transformers', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Usage: llmkit" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_help_of_every_command_begins_with_examples_and_names_no_python_type(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for command in tree.program().walk():
        assert program.run([*command.path, "--help"]) == 0
        shown = capsys.readouterr().out
        assert max(map(len, shown.splitlines())) <= 80, shown
        assert " ".join(["\n  llmkit", *command.path]) in shown.partition("\nOptions:")[0], shown
        assert not re.search(r"<(str|int|float|list|path|bool)|\{|\.\.\.\n", shown.partition("Options:")[2]), shown


def test_a_flag_with_a_short_name_has_the_same_one_everywhere():
    meanings = {}
    for command in tree.program().walk():
        for option in command.options:
            for short in (name for name in option.names if len(name) == 2):
                meanings.setdefault(short, set()).add(option.names[-1])
    assert {short: names for short, names in meanings.items() if len(names) > 1} == {}


def test_root_help_lists_the_seven_first_then_more():
    lines = llmkit("--help").stdout.splitlines()
    words = [line.split()[0] for line in lines if line.startswith("  ") and line.split()]
    positions = [words.index(name) for name in existing_commands()]
    assert positions == sorted(positions)


@pytest.mark.parametrize("theirs", [{}, {"OMP_WAIT_POLICY": "active"}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_do_not_spin_for_long_unless_the_user_wants_it(theirs):
    clean = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    code = "import os, llmkit.__main__; print(os.environ.get('OMP_WAIT_POLICY'), os.environ.get('GOMP_SPINCOUNT'))"
    said = subprocess.run(
        [sys.executable, "-c", code], env=clean | theirs, capture_output=True, text=True
    ).stdout.split()
    assert said == [theirs.get("OMP_WAIT_POLICY", "None"), theirs.get("GOMP_SPINCOUNT", "None" if theirs else "1000")]


def test_importing_llmkit_costs_no_torch():
    code = "import sys, llmkit; assert 'torch' not in sys.modules; llmkit.__version__"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_mistyped_command_is_guessed():
    done = llmkit("pretrian")
    assert done.returncode == 2
    assert done.stderr == "error: no command 'pretrian'; did you mean 'pretrain'?\n  fix: see llmkit --help\n"


@pytest.mark.parametrize(
    ("word", "there", "offered"),
    [
        ("nope.txt", ["big1.txt", "big2.txt"], []),
        ("foo", ["sqrt", "linear", "log"], []),
        ("bsh", ["bash", "zsh", "fish"], ["bash"]),
        ("lgo", ["sqrt", "linear", "log"], ["log"]),
        ("mini", ["bert-mini", "gpt-mini", "sst2"], ["bert-mini", "gpt-mini"]),
        ("gpt-mini-2", ["gpt-mini", "bert-mini"], ["gpt-mini", "bert-mini"][:1]),
        ("a.txt", ["b.txt", "c.txt"], []),
        ("notes.txt", ["note.txt", "zebra.txt"], ["note.txt"]),
        ("", ["bash"], []),
    ],
)
def test_only_what_is_near_for_its_length_is_offered(word, there, offered):
    assert nearest(word, there) == offered


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["store", "lss"], "no command 'lss'; did you mean 'ls'?"),
        (["recipe", "zzzz"], "no command 'zzzz'; see llmkit recipe --help"),
        (["help", "pretrian"], "no command 'pretrian'; did you mean 'pretrain'?"),
        (["tokenize", "--tokenzer", "x"], "no option '--tokenzer'; did you mean '--tokenizer'?"),
        (["tokenize", "--zzz"], "no option '--zzz'"),
        (["store", "show"], "missing argument 'REF'"),
    ],
)
def test_wrong_words_are_told_in_one_lower_case_line(words, told, capsys):
    assert program.run(words) == 2
    assert capsys.readouterr().err.splitlines()[0] == f"error: {told}"


@pytest.mark.parametrize("words", [[], ["tokenize"], ["store"], ["store", "ls"]])
def test_h_and_the_word_help_say_what_help_says(words, capsys):
    said = set()
    for asked in ([*words, "--help"], [*words, "-h"], ["help", *words]):
        assert program.run(asked) == 0
        said.add(capsys.readouterr().out)
    assert len(said) == 1
    assert "-h, --help" in said.pop()


def test_the_version_has_a_short_name(capsys):
    assert program.run(["-V"]) == program.run(["--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


@pytest.mark.parametrize("words", [["tokenize"], ["store", "ls"]])
def test_an_option_of_the_program_after_a_command_is_told_its_place(words):
    done = llmkit(*words, "--debug")
    assert done.returncode == 2
    assert f"--debug goes before the command: llmkit --debug {' '.join(words)} ..." in done.stderr


def test_no_command_shows_help_on_stderr_and_exits_2():
    done = llmkit()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: llmkit")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.LlmkitError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.RecipeError("x"), 2),
        (errors.CheckFailed("x"), 3),
        (errors.InputRefused("x"), 4),
        (errors.Diverged("x"), 5),
        (errors.OutOfMemory("x"), 6),
        (MemoryError(), 6),
        (errors.RunInUse("x"), 7),
        (ZeroDivisionError("x"), 70),
        (errors.StorageError("x"), 74),
        (OSError(28, "No space left on device", "f"), 74),
        (errors.Stopped("x"), 75),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(error, code, capsys, monkeypatch):
    monkeypatch.delenv("LLMKIT_DEBUG", raising=False)
    monkeypatch.setattr(program, "_drop_unwritten", lambda: None)
    assert program.report(error) == code
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: ")
    assert "Traceback" not in stderr


def test_error_text_cannot_drive_the_terminal(capsys):
    program.report(errors.InputRefused("bad \x1b[2J name \u202e", "try \x07"))
    stderr = capsys.readouterr().err
    assert "\x1b" not in stderr
    assert "\u202e" not in stderr
    assert "\x07" not in stderr


def test_json_mode_reports_errors_as_json(capsys):
    program.report(errors.RecipeError("x", "y"), as_json=True)
    assert capsys.readouterr().err == '{"error": {"code": "recipe", "exit": 2, "message": "x", "fix": "y"}}\n'


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, which only Linux has")
def test_a_full_disk_behind_stdout_is_one_line_and_74():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "llmkit", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 74
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


@pytest.mark.parametrize(
    ("a", "b", "d"), [("", "abc", 3), ("abc", "abc", 0), ("ab", "ba", 1), ("kitten", "sitting", 3)]
)
def test_distance_counts_edits_and_swaps(a, b, d):
    assert distance(a, b) == d
    assert distance(b, a) == d


def test_nearest_offers_close_words_and_nothing_far():
    assert nearest("pretrian", existing_commands())[0] == "pretrain"
    assert guess_key("optim.lr", ["train.lr", "train.steps", "model.family"]) == ["train.lr"]
    assert nearest("zzzzzz", existing_commands()) == []


@pytest.mark.parametrize("command", [["recipe", "ls"], ["recipe", "schema", "--json"], ["--version"]])
def test_a_closed_stdout_is_an_output_error(command):
    done = llmkit(*command, preexec_fn=lambda: os.close(1))
    assert done.returncode == 74
    assert "stdout is closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_message_never_goes_to_stdout_when_stderr_is_closed():
    done = llmkit("recipe", "show", "nosuch", preexec_fn=lambda: os.close(2))
    assert (done.returncode, done.stdout) == (2, "")


def test_a_closed_stdin_is_said(tmp_path):
    done = llmkit("train-bpe", "-", "--out", str(tmp_path), preexec_fn=lambda: os.close(0))
    assert done.returncode == 74
    assert "stdin is closed" in done.stderr


@pytest.mark.parametrize("args", [["store", "ls", "--store", ""], ["pretrain", ""], ["inspect", "--svg="]])
def test_an_empty_argument_is_refused_and_named(args):
    done = llmkit(*args)
    assert done.returncode == 2
    assert "the argument after " + {"": args[-2], "--svg=": "--svg"}[args[-1]] + " is empty" in done.stderr


def test_text_may_be_empty(capsys):
    assert program.run(["recipe", "show", "gpt-mini", "--set", ""]) == 2
    assert "without key=value" in capsys.readouterr().err


def test_an_interrupt_that_a_library_mistakes_is_still_an_interrupt(monkeypatch):
    import signal

    def swallow(*args, **options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("cannot load module more than once per process") from None

    monkeypatch.setattr("typer.main.get_command", swallow)
    before = signal.getsignal(signal.SIGINT)
    assert program.run(["recipe", "ls"]) == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_no_part_of_a_model_brings_the_compiler_along_which_would_cost_every_start_a_second():
    code = (
        "import importlib, pkgutil, sys, llmkit.nn, llmkit.training.session;"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(llmkit.nn.__path__, 'llmkit.nn.')];"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
