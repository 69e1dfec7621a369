"""`llmkit inspect`: the layer tree, values, differences, neighbours, and attention on a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from llmkit.cli.options import Device, Json, Quiet, Store


def inspect(
    ref: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="NAME, NAME@STEP or a model directory [default: newest].", metavar="REF"),
    ] = None,
    depth: Annotated[int, typer.Option("--depth", min=1, help="Levels of the tree.", metavar="N")] = 2,
    columns: Annotated[
        str, typer.Option("--columns", help="Of the tree: shape,params,share,bar,bytes,dtype,note.", metavar="A,B")
    ] = "shape,params,share,bar,note",
    verify: Annotated[bool, typer.Option("--verify", help="Check every file's digest, whatever its size.")] = False,
    config: Annotated[
        bool, typer.Option("--config", help="Settings beside the family's defaults; REF may be a family.")
    ] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Mean, std, range, NaN and infinities per tensor.")] = False,
    diff: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--diff", help="Compare with another model; exit 3 if they differ.", metavar="REF2"),
    ] = None,
    neighbors: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--neighbors", help="Tokens whose embedding is nearest to this word's.", metavar="WORD"),
    ] = None,
    text: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--text", help="Show attention on this text; - reads stdin.", metavar="TEXT"),
    ] = None,
    layer: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--layer", help="One layer.", metavar="N"),
    ] = None,
    head: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option("--head", help="One head, as a map; with --layer.", metavar="N"),
    ] = None,
    all_heads: Annotated[bool, typer.Option("--all-heads", help="A thumbnail of every head.")] = False,
    cross: Annotated[
        bool, typer.Option("--cross", help="Of an encoder-decoder: what each word written looks at in the text.")
    ] = False,
    target: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--target", help="The words written [default: the model's own].", metavar="TEXT"),
    ] = None,
    query: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--query", help="What one position looks at.", metavar="N|WORD"),
    ] = None,
    hide_sink: Annotated[
        bool, typer.Option("--hide-sink", help="Leave out the first and special tokens as keys; renormalize.")
    ] = False,
    window: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--window", help="Only positions a to b (b not included).", metavar="a:b"),
    ] = None,
    scale: Annotated[str, typer.Option("--scale", help="Brightness: sqrt, linear or log.", metavar="NAME")] = "sqrt",
    top: Annotated[int, typer.Option("--top", min=1, help="Links or neighbours in lists.", metavar="N")] = 10,
    every: Annotated[bool, typer.Option("--all", help="In a pipe: every pair, not the strongest.")] = False,
    save: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--save", help="Write the maps as safetensors.", metavar="FILE"),
    ] = None,
    svg: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--svg", help="Write the picture as SVG.", metavar="FILE"),
    ] = None,
    store: Store = None,
    device: Device = "cpu",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look inside a model: layers and counts from the file headers, and attention on a text.

    \b
    llmkit inspect                                         layers of the newest
    llmkit inspect tiny --text "It sat, it purred"         what every head does
    llmkit inspect tiny --text "..." --layer 2 --head 1    one head as a map
    llmkit inspect my-t5 --text "..." --cross              what its answer sees
    llmkit inspect tiny@500 --diff tiny@1000               what training changed
    llmkit inspect t5 --config                             settings of a family
    """
    from llmkit.checkpoint.refs import default_store
    from llmkit.cli.inspect_numbers import show_neighbours, show_stats
    from llmkit.cli.inspect_tree import show_tree
    from llmkit.cli.models import find_model
    from llmkit.cli.output import Output, refuse_overwriting

    place = default_store(store)
    out = Output(as_json=json, quiet=quiet, svg=svg)
    _one_view(text=text, diff=diff, neighbors=neighbors, stats=stats, config=config)
    if text is None:
        _needs_text(
            layer=layer, head=head, all_heads=all_heads, query=query, hide_sink=hide_sink, window=window, all=every,
            save=save, cross=cross, target=target,
        )  # fmt: skip
    if config:
        from llmkit.cli.inspect_config import family_named, show_config, show_model_config

        if (family := family_named(ref, place)) is not None:
            show_config(family, None, family.title, out)
        else:
            show_model_config(find_model(ref, place, quiet=quiet), out)
        return
    path = find_model(ref, place, quiet=quiet)
    for written in (svg, save):
        if written is not None:
            refuse_overwriting(written, path.iterdir())
    if text is not None:
        from llmkit.cli.attention_scene import View
        from llmkit.cli.inspect_attention import show_attention

        view = View(layer, head, all_heads, query, hide_sink, window, scale, top, every, save, cross, target)
        show_attention(path, text, view, out, device)
    elif diff is not None:
        from llmkit.cli.differences import show_differences

        raise typer.Exit(show_differences(path, find_model(diff, place), out, command="inspect-diff"))
    elif neighbors is not None:
        show_neighbours(path, neighbors, top, out)
    elif stats:
        show_stats(path, out)
    else:
        show_tree(path, out, depth=depth, columns=columns, verify=verify)


def _one_view(**views: object) -> None:
    from llmkit.errors import UsageError

    chosen = [name for name, value in views.items() if value is not None and value is not False]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other", "look at one thing at a time")


def _needs_text(**flags: object) -> None:
    from llmkit.errors import UsageError

    for name, value in flags.items():
        if value is not None and value is not False:  # 0 is a layer
            raise UsageError(f"--{name.replace('_', '-')} needs a text", 'add --text "..."')
