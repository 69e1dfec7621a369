"""Which log a word on the command line means: a run's, a recipe's own, a sweep's, a file's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmkit.training.history import History


def find_log(ref: str, store: Path) -> Path:
    """The file that holds the history `ref` names: a run in the store, a directory, a log, or a recipe's own run."""
    import os

    from llmkit.checkpoint.refs import run_names
    from llmkit.errors import LlmkitError, UsageError
    from llmkit.suggest import did_you_mean
    from llmkit.training.logs import METRICS

    name = ref.partition("@")[0]
    is_word = os.sep not in ref and not ref.startswith((".", "~"))
    if is_word and (store / name / METRICS).is_file():
        return store / name / METRICS
    path = Path(ref).expanduser()
    if path.is_dir():
        # A step of a run stands for the run.
        found = next((p / METRICS for p in (path, path.absolute().parent) if (p / METRICS).is_file()), None)
        if found is None:
            raise UsageError(f"{ref} holds no {METRICS}", "name a run that has begun to train")
        return found
    if path.suffix not in (".yaml", ".yml") and path.is_file():
        return path
    from llmkit.recipe.load import load_recipe

    try:
        own = load_recipe(ref, []).name
    except LlmkitError:
        if path.is_file():
            raise
        if not is_word:
            raise UsageError(f"{ref} is not there", "name a run, its directory, or a log") from None
        names = [n for n in run_names(store) if (store / n / METRICS).is_file()]
        hint = did_you_mean(name, names) or (f"runs to plot: {', '.join(names[:8])}" if names else "train one first")
        raise UsageError(f"no run {ref[:200]!r} in {store}", hint) from None
    if not (store / own / METRICS).is_file():
        raise UsageError(f"recipe {ref} has no run {own!r} in {store} yet", "start it: the same command without --plot")
    return store / own / METRICS


def swept(refs: Sequence[str], sweep: Sequence[str], store: Path) -> list[str]:
    """The runs of a sweep that have begun."""
    from llmkit.errors import LlmkitError, UsageError
    from llmkit.recipe.load import load_recipe
    from llmkit.training.logs import METRICS
    from llmkit.training.sweep import variants

    if len(refs) != 1:
        raise UsageError("--sweep with --plot needs the one recipe that was swept")
    try:
        name = load_recipe(refs[0], []).name
    except LlmkitError:
        name = refs[0]  # --run NAME
    begun = [v.run for v in variants(name, sweep) if (store / v.run / METRICS).is_file()]
    if not begun:
        raise UsageError(f"no run of this sweep is in {store} yet", "start it: the same command without --plot")
    return begun


def newest_log(store: Path) -> str:
    """The run whose log was written last. Raises UsageError when there is none."""
    from llmkit.checkpoint.refs import run_names
    from llmkit.errors import UsageError
    from llmkit.training.logs import METRICS

    logs = [store / name / METRICS for name in run_names(store)]
    logs = [log for log in logs if log.is_file()]
    if not logs:
        raise UsageError(f"no run in {store} to plot", "train one, or name a log: a path to a metrics.jsonl or a table")
    return max(logs, key=lambda log: log.stat().st_mtime_ns).parent.name


def told_apart(histories: list[History]) -> list[History]:
    """Runs of the same name in different places get their directory in front."""
    names = [h.name for h in histories]
    for history in histories:
        if names.count(history.name) > 1:
            parent = history.path.absolute().parent
            history.name = f"{(parent.parent if parent.name == history.name else parent).name}/{history.name}"
    return histories
