"""llmkit completion: print a shell's completion script. `python -m llmkit.cli.completion` rewrites the shipped ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

SHELLS = {"bash": "llmkit.bash", "zsh": "_llmkit", "fish": "llmkit.fish"}


def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell to complete in.")],
) -> None:
    """Print the completion script of a shell; nothing of yours is edited.

    \b
    llmkit completion bash > ~/.local/share/bash-completion/completions/llmkit
    llmkit completion zsh  > ~/.zfunc/_llmkit   # needs fpath+=(~/.zfunc)
    llmkit completion fish > ~/.config/fish/completions/llmkit.fish
    """
    from llmkit.errors import UsageError
    from llmkit.suggest import did_you_mean

    if shell not in SHELLS:
        raise UsageError(f"no completion for {shell!r}", did_you_mean(shell, SHELLS) or f"choose {', '.join(SHELLS)}")
    sys.stdout.write(script(shell))


def script(shell: str) -> str:
    """The completion script of `shell`, from the commands as they are now."""
    from llmkit.cli.shells.bash import bash_script
    from llmkit.cli.shells.fish import fish_script
    from llmkit.cli.shells.tree import Command, program
    from llmkit.cli.shells.zsh import zsh_script

    writers: dict[str, Callable[[Command], str]] = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
    return writers[shell](program())


def recipe_keys() -> str:
    """What `llmkit __complete recipe-keys` reads: key, values if they are a fixed few, and help, tab-separated."""
    from llmkit.recipe.keys import all_specs

    lines = []
    for path, spec in all_specs(None).items():
        values = spec.key.choices or (("true", "false") if spec.kind == "bool" else ())
        lines.append(f"{path}\t{'|'.join(values)}\t{spec.key.help}\n")
    return "".join(lines)


def generated_files() -> dict[Path, str]:
    """Every file that is written from the commands and the recipe keys, with its right content."""
    from llmkit.cli.complete import KEYS_FILE

    folder = Path(__file__).parents[2] / "completions"
    return {**{folder / file: script(shell) for shell, file in SHELLS.items()}, Path(KEYS_FILE): recipe_keys()}


def main() -> None:
    """Rewrite the generated files of a checkout."""
    for path, text in generated_files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
