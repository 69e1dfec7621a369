"""`llmkit store`: what lies in the store, whether it is whole, and tidying it up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from llmkit.cli.help import PlainCommand, command_group
from llmkit.cli.options import Json, Quiet, Store

if TYPE_CHECKING:
    from llmkit.checkpoint.catalogue import Entry
    from llmkit.render.table import Column

app = command_group(
    """List, show, verify, compare, prune and export checkpoints; clear the cache of tokenized texts.

    \b
    llmkit store ls                 runs and tokenizers
    llmkit store verify             check every file of every checkpoint
    llmkit store export gpt-mini ./gpt-mini-for-friends
    """
)

Ref = Annotated[str, typer.Argument(metavar="REF", help="NAME, NAME@STEP or a directory.")]


@app.command(cls=PlainCommand)
def ls(
    name: Annotated[
        Optional[str],  # noqa: UP045  Typer reads it at run time on Python 3.10 too
        typer.Argument(metavar="NAME", help="All steps of one run instead of every run."),
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """List what the store holds: runs and tokenizers, or the steps of one run.

    \b
    llmkit store ls
    llmkit store ls gpt-mini
    llmkit store ls --json | jq -r '.entries[].ref'
    """
    from llmkit.checkpoint.catalogue import entries, steps_of
    from llmkit.checkpoint.refs import default_store
    from llmkit.cli.output import Output

    place, out = default_store(store), Output(as_json=as_json)
    found = entries(place) if name is None else steps_of(place, name)
    if as_json:
        out.object({"schema": "llmkit/store-ls/1", "store": str(place), "entries": [_json(e) for e in found]})
        return
    if not found:
        out.note(f"nothing in {place}; llmkit pretrain bert-mini trains a small model")
    if out.is_terminal:
        out.table(_columns("ref", "kind", "model", "steps", "size", "written", "note"), [_row(e) for e in found])
    else:
        out.records(
            (e.ref, e.kind, e.family, str(e.n_steps), str(e.n_bytes), _utc(e.written), e.problem) for e in found
        )


@app.command(cls=PlainCommand)
def show(ref: Ref, store: Store = None, as_json: Json = False) -> None:
    """Show one checkpoint: where it comes from, what wrote it, and its files.

    \b
    llmkit store show gpt-mini
    llmkit store show gpt-mini@500 --json
    """
    from llmkit.checkpoint.catalogue import details
    from llmkit.checkpoint.refs import default_store, resolve
    from llmkit.cli.output import Output
    from llmkit.units import size

    place, out = default_store(store), Output(as_json=as_json)
    found = details(resolve(ref, place), place)
    if as_json:
        out.object({"schema": "llmkit/store-show/1", **found.as_dict()})
    elif out.is_terminal:
        out.facts(found.facts)
        print()
        out.table(
            _columns("file", "size", "sha256"), [(f.name, size(f.size), (f.sha256 or "")[:16]) for f in found.files]
        )
    else:
        out.records(found.facts.items())
        out.records(("file", f.name, str(f.size), f.sha256 or "") for f in found.files)


@app.command(cls=PlainCommand)
def verify(
    refs: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="REF", help="What to verify [default: every step of every run]."),
    ] = None,
    store: Store = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read every byte of checkpoints and compare it with their manifests; exit code 4 if one does not match.

    \b
    llmkit store verify                 everything in the store
    llmkit store verify gpt-mini        every step of a run
    llmkit store verify gpt-mini@500
    """
    from llmkit.checkpoint.catalogue import to_verify, verdict
    from llmkit.checkpoint.refs import default_store
    from llmkit.cli.output import Output
    from llmkit.errors import InputRefused

    place, out = default_store(store), Output(as_json=as_json, quiet=quiet)
    results = []
    for target in to_verify(refs, place):
        result = verdict(target, place)
        results.append(result)
        if not as_json and not (quiet and result.ok):
            mark = ("ok" if result.ok else "damaged") if result.has_manifest else "no manifest"
            words = [result.ref, mark, result.reason] if result.reason else [result.ref, mark]
            out.records([words], flush=True)
    if as_json:
        listed = [{"ref": r.ref, "ok": r.ok, "manifest": r.has_manifest, "reason": r.reason or None} for r in results]
        out.object({"schema": "llmkit/store-verify/1", "checkpoints": listed})
    bad = [r for r in results if not r.ok]
    if bad and as_json:
        raise typer.Exit(InputRefused.exit_code)
    if bad:
        raise InputRefused(
            f"{len(bad)} of {len(results)} checkpoints did not verify: {', '.join(r.ref for r in bad[:5])}",
            "resuming uses the newest that is whole; delete the damaged ones when nobody needs them",
        )


@app.command(cls=PlainCommand)
def diff(ref: Ref, other: Ref, store: Store = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Compare settings and weights of two checkpoints; exit code 3 if they differ.

    \b
    llmkit store diff gpt-mini@500 gpt-mini@1000
    """
    from llmkit.checkpoint.refs import default_store, resolve
    from llmkit.cli.differences import show_differences
    from llmkit.cli.output import Output

    place, out = default_store(store), Output(as_json=as_json, quiet=quiet)
    raise typer.Exit(show_differences(resolve(ref, place), resolve(other, place), out, command="store-diff"))


@app.command(cls=PlainCommand)
def prune(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A run in the store.")],
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="How many of the newest checkpoints to keep.", metavar="N")
    ],
    store: Store = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete all but the newest checkpoints of a run. The newest that verifies always stays.

    \b
    llmkit store prune gpt-mini --keep 2
    llmkit store prune gpt-mini --keep 1 --dry-run
    """
    from llmkit.checkpoint.catalogue import run_of
    from llmkit.checkpoint.refs import default_store, reference
    from llmkit.cli.output import Output

    place, out = default_store(store), Output(as_json=as_json)
    run = run_of(place, name)
    doomed = run.to_prune(keep)
    if doomed and not dry_run:
        with run.lock():
            doomed = run.prune(keep)
    refs = [reference(checkpoint.path, place) for checkpoint in doomed]
    if as_json:
        out.object({"schema": "llmkit/store-prune/1", "dry_run": dry_run, "deleted": refs})
    else:
        out.records(("would delete" if dry_run else "deleted", ref) for ref in refs)


@app.command(cls=PlainCommand)
def clean(
    store: Store = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: Json = False,
) -> None:
    """Delete the cache: tokenized texts and the tokenizers learned for them. Runs and models stay as they are.

    \b
    llmkit store clean --dry-run
    llmkit store clean              a later run reads and tokenizes its text anew
    """
    from llmkit.checkpoint.refs import default_store
    from llmkit.cli.output import Output
    from llmkit.training.cache import clear_cache
    from llmkit.units import size

    out = Output(as_json=as_json)
    gone = clear_cache(default_store(store), dry_run=dry_run)
    if as_json:
        entries = [{"name": name, "bytes": n} for name, n in gone]
        out.object({"schema": "llmkit/store-clean/1", "dry_run": dry_run, "deleted": entries})
    else:
        out.records(("would delete" if dry_run else "deleted", name, size(n)) for name, n in gone)


@app.command(cls=PlainCommand)
def export(
    ref: Ref,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty directory.")],
    store: Store = None,
    dtype: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--dtype", help="Convert weights: float32, bfloat16 or float16 [default: as stored].", metavar="TYPE"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model for others: Hugging Face layout without training state. The logits are compared.

    \b
    llmkit store export gpt-mini ./gpt-mini-for-friends
    llmkit store export gpt-mini@500 ./half --dtype bfloat16
    """
    from llmkit.api import export as export_model
    from llmkit.cli.output import Output

    largest = export_model(ref, directory, store=store, dtype=dtype)
    if as_json:
        Output(as_json=True).object(
            {"schema": "llmkit/store-export/1", "path": str(directory), "largest_logit_difference": largest}
        )
    else:
        print(directory)


def _row(entry: Entry) -> tuple[str, ...]:
    from llmkit.units import size

    steps = str(entry.n_steps) if entry.n_steps else ""
    return entry.ref, entry.kind, entry.family, steps, size(entry.n_bytes), _utc(entry.written), entry.problem


def _json(entry: Entry) -> dict[str, Any]:
    return {
        "ref": entry.ref,
        "kind": entry.kind,
        "family": entry.family or None,
        "steps": entry.n_steps,
        "bytes": entry.n_bytes,
        "written": _utc(entry.written),
        "path": str(entry.path),
        "problem": entry.problem or None,
    }


def _utc(seconds: float) -> str:
    from datetime import datetime, timezone

    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _columns(*titles: str) -> list[Column]:
    """Columns of a table; a narrow terminal loses the least telling ones first."""
    from llmkit.render.table import Column

    dear = {"size": 6, "steps": 3, "kind": 2, "written": 1}
    return [Column(title, is_right=title in ("size", "steps"), keep=dear.get(title, 5)) for title in titles]
