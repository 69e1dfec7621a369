"""`inspect --text`: check the flags, run the model, and hand the reading to the face that was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.cli.attention_records import as_json, records, save
from llmkit.cli.attention_scene import Scene, View
from llmkit.cli.attention_screens import drawing, write_svg
from llmkit.cli.output import Output
from llmkit.errors import UsageError

if TYPE_CHECKING:
    from llmkit.inspection.attention import Look
    from llmkit.models.config import ModelConfig
    from llmkit.models.family import Family

_ANSWER = 64  # tokens of the model's own answer to look at
SCALES = ("sqrt", "linear", "log")
_HELD_CELLS, _JSON_CELLS = 2**29, 2**24


def show_attention(path: Path, text: str, view: View, out: Output, device: str) -> None:
    """Run the model in `path` on `text` and show its attention in the face that `out` and `view` ask for."""
    from llmkit.checkpoint.config_json import read_model_config
    from llmkit.inspection.tokens import find_query

    family, config = read_model_config(path)
    _check_flags(view, family, config)
    look = _texts(path, text, view, family, config, out, device)
    shown = look.written or look.tokens
    window = _window(view.window, len(shown))
    query = None
    if view.query is not None:
        query, matches = find_query(view.query, shown)
        if matches > 1:
            out.note(f"{view.query!r} stands {matches} times in the text; this is the last, at {query}")
    scene = _look(path, look, view, window, query, config, out, device)
    if view.save is not None:
        save(scene, view.save, out)
    if out.svg is not None:
        write_svg(scene, out)
    if out.as_json:
        out.object(as_json(scene))
    elif view.save is not None or out.svg is not None:
        return
    elif out.is_terminal:
        out.draw(drawing(scene, out.width, out.palette))
    else:
        out.records(records(scene))


def _texts(path: Path, text: str, view: View, family: Family, config: ModelConfig, out: Output, device: str) -> Look:
    """The tokens that the model reads and, for cross-attention, those it writes: --target, or its own answer."""
    from llmkit.errors import InputRefused
    from llmkit.inspection.attention import Look
    from llmkit.inspection.tokens import read_source, read_target, read_tokens
    from llmkit.models.family import Kind
    from llmkit.tokenization.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    if family.kind is Kind.ENCODER_DECODER:
        tokens = read_source(_read(text), tokenizer, context=config.max_seq_len)
    else:
        is_encoder = family.kind is Kind.ENCODER
        tokens = read_tokens(_read(text), tokenizer, encoder=is_encoder, context=config.max_seq_len)
    if max(tokens.ids) >= config.vocab_size:
        raise InputRefused(f"the tokenizer in {path} has ids that the model lacks", "it belongs to another model")
    if tokens.dropped:
        out.note(
            f"the text is longer than the context of {config.max_seq_len}: the last {tokens.dropped} tokens are cut"
        )
    if family.kind is not Kind.ENCODER_DECODER:
        return Look(tokens)
    if not view.cross and view.target is None:
        return Look(tokens, "encoder")
    written = view.target
    if written is None:
        from llmkit.api import load

        written = "".join(load(path, device=device).generate(_read(text), max_tokens=_ANSWER, temperature=0.0))
        out.note(f"the model's own answer: {written!r}; --target gives it another")
    return Look(tokens, "cross" if view.cross else "decoder", read_target(written, tokenizer, config))


def _check_flags(view: View, family: Family, config: ModelConfig) -> None:
    from llmkit.models.config import EncoderDecoderConfig
    from llmkit.suggest import did_you_mean

    layers, heads = config.n_layers, config.n_heads
    if isinstance(config, EncoderDecoderConfig) and (view.cross or view.target is not None):
        layers, heads = config.n_decoder_layers, config.n_decoder_heads
    elif view.cross or view.target is not None:
        flag = "--cross" if view.cross else "--target"
        raise UsageError(f"{flag} is for encoder-decoders; {family.title} has one stack", "leave it out")
    for name, value, count in (("layer", view.layer, layers), ("head", view.head, heads)):
        if value is not None and not 0 <= value < count:
            raise UsageError(f"there is no {name} {value} in this model", f"--{name} takes 0 to {count - 1}")
    if view.scale not in SCALES:
        raise UsageError(f"--scale is {view.scale!r}", did_you_mean(view.scale, SCALES) or "use sqrt, linear or log")


def _read(text: str) -> str:
    if text != "-":
        return text
    from llmkit.cli.lines import read_stdin_text

    return read_stdin_text().rstrip("\n")


def _window(asked: str | None, total: int) -> tuple[int, int]:
    if asked is None:
        return 0, total
    start, colon, end = asked.partition(":")
    try:
        a, b = int(start or 0), int(end or total)
    except ValueError:
        a, b = 0, -1
    b = min(b, total)
    if not colon or not 0 <= a < b:
        raise UsageError(f"--window {asked!r} selects nothing", f"give a:b with 0 <= a < b <= {total}")
    return a, b


def _look(
    path: Path,
    look: Look,
    view: View,
    window: tuple[int, int],
    query: int | None,
    config: ModelConfig,
    out: Output,
    device: str,
) -> Scene:
    from llmkit.checkpoint.hf_layout import read_model
    from llmkit.inspection.attention import read_attention
    from llmkit.inspection.patterns import without_sinks
    from llmkit.inspection.structure import display_name

    layers, heads = config.n_layers, config.n_heads
    if look.written is not None:
        layers, heads = getattr(config, "n_decoder_layers", layers), getattr(config, "n_decoder_heads", heads)
    wanted = view.chosen(layers, heads)
    keep = wanted if _needs_maps(view, out) else []
    _refuse_too_much(len(keep), max(len(look.tokens), len(look.written or ())), out)
    from llmkit.training.device import choose_device

    target = choose_device(device)
    model = read_model(path, device=target)
    reading = read_attention(model, look, keep=keep)
    if view.layer in reading.pooled:
        raise UsageError(f"layer {view.layer} looks at a shortened text, which has no words to show", "show another")
    if reading.pooled:
        out.note(f"layers {', '.join(map(str, reading.pooled))} look at a shortened text and are left out")
    maps, hidden = dict(reading.maps), {}
    if view.hide_sink:
        for key, weights in maps.items():
            maps[key], hidden[key] = without_sinks(weights, reading.keys.sinks)
    return Scene(display_name(path), reading, view, window, query, maps, hidden)


def _needs_maps(view: View, out: Output) -> bool:
    """Whether summaries and strongest links will not do; maps of all heads of a long text take gigabytes."""
    if out.as_json or out.svg is not None or view.save is not None or view.query is not None:
        return True
    if out.is_terminal:
        return view.all_heads or view.layer is not None or view.head is not None
    from llmkit.inspection.patterns import LINKS

    return view.every or view.hide_sink or view.window is not None or view.top > LINKS


def _refuse_too_much(heads: int, tokens: int, out: Output) -> None:
    cells = heads * tokens * tokens
    if cells > (_JSON_CELLS if out.as_json else _HELD_CELLS):
        raise UsageError(
            f"{heads} maps of {tokens} x {tokens} tokens are too much at once",
            "choose one head with --layer and --head, or cut the text",
        )
