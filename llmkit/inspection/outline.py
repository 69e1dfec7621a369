"""Tensor names to a tree for reading: wrappers hoisted, chains joined, equal numbered layers folded, a useful order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from llmkit.inspection.structure import Structure, TensorFact, is_expert

# A block reads best in the order in which data flows through it; files keep names in another. First match wins;
# what matches no rule stands between the early and the late ones.
_EARLY = [
    re.compile(p)
    for p in (
        r"^(shared|wte|tokens|word_embeddings?|embed_tokens|embed_in)$", r"^embed(?!_out)|^tokens_embed$|^w$",
        r"^(wpe|position_embeddings|positions_embed)$", r"^token_type", r"^encoder$", r"^decoder$",
        r"^(ln_?1|(layer_?)?norm_?1|input_layernorm|attention_norm|pre_norm)$",
        r"^((self_|rel_)?attn|attentions?|self_?attention|multi_head_attention|self)$",
        r"^(q|wq|query|c_attn|qkv|query_key_value)", r"^(k|wk|key)(_|$)", r"^(v|wv|value)(_|$)", r"^wi(_\d)?$",
        r"^(o|wo|out)(_|$)", r"^(?!encoder_attn|cross).*(attn|attention).*norm",
        r"^(encoder_attn|encdecattention|cross\w*)$", r"^(encoder_attn|cross).*norm",
        r"^(ln_?2|(layer_?)?norm_?2|ffn_norm)$", r"^(mlp|ffns?|ff|feed_forward|intermediate)$",
        r"^(gate|w1|fc1|c_fc|wi)", r"^(up|w3)", r"^(down|w2|fc2|c_proj)",
        r"^(layers?|h|blocks?)$", r"^dense", r"^output$", r"^(transform|weight)$",
    )
]  # fmt: skip
_LATE = [
    re.compile(p)
    for p in (r"norm|^ln_f$", r"^bias$", r"^pooler", r"head|^embed_out|^cls$|classifier|^score$|qa_outputs")
]
# The block a tensor belongs to: its name up to the last number of a list of layers.
_BLOCK = re.compile(r".*?(?:layers?|groups|blocks?|h)\.\d+(?:\.\w*layers?\.\d+)?(?=\.)")
_DEEPEST = 32  # name parts; a file may hold names of any length, and the tree is walked by recursion


@dataclass(frozen=True)
class Node:
    """One line of the tree. Totals cover all `count` equal copies; children describe one copy."""

    name: str
    count: int
    params: int
    bytes: int
    shape: str
    dtype: str
    note: str
    children: tuple[Node, ...] = ()
    tensors: tuple[TensorFact, ...] = ()  # of the first copy
    is_frame: bool = False  # a tower or a list of unlike layers: worth a line, but not a level of its own


@dataclass
class _Module:
    children: dict[str, _Module | TensorFact] = field(default_factory=dict)

    def tensors(self) -> Iterator[TensorFact]:
        for child in self.children.values():
            if isinstance(child, TensorFact):
                yield child
            else:
                yield from child.tensors()

    def numbered(self) -> bool:
        """Whether a list of layers lies anywhere below."""
        return any(isinstance(c, _Module) and (name.isdigit() or c.numbered()) for name, c in self.children.items())


def outline(structure: Structure) -> Node:
    """Return the root of the tree; its children are the lines of the first level."""
    root = _Module()
    for tensor in structure.tensors:
        *parents, leaf = tensor.name.split(".", _DEEPEST)
        at = root
        for part in parents:
            part = re.sub(r"^expert_(?=\d+$)", "", part)  # a list like any other, whatever its members are called
            child = at.children.setdefault(part, _Module())
            if isinstance(child, TensorFact):  # a tensor and a module of one name: keep both apart
                child = at.children.setdefault(part + ".", _Module())
                assert isinstance(child, _Module)
            at = child
        at.children[leaf] = tensor
    _hoist(root)
    nodes = _children(root, structure)
    if structure.head_tied_to:
        nodes = _show_tied_head(nodes, structure.head_tied_to)
    return Node(structure.name, 1, structure.params, structure.bytes, "", "", "", nodes, structure.tensors)


def _hoist(root: _Module) -> None:
    """Dissolve wrappers such as `model` or `bert`: the one module that holds every list of layers."""
    for _ in range(3):
        holders = [n for n, c in root.children.items() if isinstance(c, _Module) and (n.isdigit() or c.numbered())]
        if len(holders) != 1 or holders[0].isdigit():
            return
        inner = root.children[holders[0]]
        assert isinstance(inner, _Module)
        if any(n.isdigit() for n in inner.children) or set(inner.children) & (set(root.children) - {holders[0]}):
            return
        if len(inner.children) == 1 and len(root.children) > 1:
            return
        del root.children[holders[0]]
        root.children.update(inner.children)


def _children(module: _Module, structure: Structure) -> tuple[Node, ...]:
    module = _dissolve(module)
    numbers = {n: c for n, c in module.children.items() if n.isdigit() and isinstance(c, _Module)}
    nodes = [
        (rank(n), _node(n, c, structure)) for n, c in module.children.items() if not (n.isdigit() and n in numbers)
    ]
    groups: dict[object, list[str]] = {}
    for n in sorted(numbers, key=int):
        groups.setdefault(_signature(numbers[n]), []).append(n)
    for members in groups.values():
        nodes.append(((len(_EARLY), members[0].zfill(9)), _fold(span(members), numbers, members, structure)))
    return tuple(node for _, node in sorted(nodes, key=lambda pair: pair[0]))


def _node(name: str, child: _Module | TensorFact, structure: Structure) -> Node:
    if isinstance(child, TensorFact):
        note = f"tied to {child.tied_to}" if child.tied_to else "" if child.params or not child.bytes else "buffer"
        return Node(name, 1, child.params, child.bytes, times(child.shape), child.dtype, note, (), (child,))
    while len(child.children) == 1:  # encoder -> layer becomes encoder.layer
        [(inner, below)] = child.children.items()
        if isinstance(below, TensorFact) or inner.isdigit():
            break
        name, child = f"{name}.{inner}", below
    numbers = {n: c for n, c in child.children.items() if n.isdigit() and isinstance(c, _Module)}
    if len(numbers) == len(child.children) and len({_signature(c) for c in numbers.values()}) == 1:
        return _fold(name, numbers, sorted(numbers, key=int), structure)
    tensors = tuple(child.tensors())
    kinds = len({_signature(c) for c in numbers.values()})
    note = f"{kinds} kinds" if 1 < kinds < len(numbers) else note_for(name, tensors, structure)
    is_frame = child.numbered()
    only_tensors = all(isinstance(c, TensorFact) for c in child.children.values())
    children = () if only_tensors and len(tensors) <= 2 else _children(child, structure)
    return Node(
        name, 1, sum(t.params for t in tensors), sum(t.bytes for t in tensors), shapes(tensors),
        _dtype(tensors), note, children, tensors, is_frame,
    )  # fmt: skip


def _dissolve(module: _Module) -> _Module:
    """A list of a few unlike parts (T5's layer.0, layer.1) joins its holder: `0.SelfAttention`, `1.DenseReluDense`."""
    [(_, parts), *others] = module.children.items() if module.children else [("", None)]
    if others or not isinstance(parts, _Module) or not 1 < len(parts.children) <= 4:
        return module
    listed = {n: c for n, c in parts.children.items() if n.isdigit() and isinstance(c, _Module)}
    if len(listed) != len(parts.children) or len({_signature(c) for c in listed.values()}) != len(listed):
        return module
    return _Module({f"{n}.{name}": c for n, part in listed.items() for name, c in part.children.items()})


def _fold(name: str, numbers: dict[str, _Module], members: list[str], structure: Structure) -> Node:
    first = numbers[members[0]]
    tensors = tuple(first.tensors())
    every = [t for m in members for t in numbers[m].tensors()]
    note = _list_note(every, len(members), structure)
    is_leaf = len(tensors) <= 2 and all(isinstance(c, TensorFact) for c in first.children.values())
    below = () if is_leaf else _children(first, structure)
    children = tuple(replace(c, note="") if c.note == note else c for c in below)
    return Node(
        name, len(members), sum(t.params for t in every), sum(t.bytes for t in every),
        shapes(tensors) if is_leaf else "", _dtype(tensors), note or note_for(name, tensors, structure), children,
        tensors,
    )  # fmt: skip


def _list_note(every: list[TensorFact], members: int, structure: Structure) -> str:
    """What a list of equal parts is, where its number does not say it: experts, or blocks that run more than once."""
    facts = structure.facts
    if facts.experts == members and facts.active_experts and every and all(is_expert(t.name) for t in every):
        return f"{facts.active_experts} active per token"
    stored = {m.group() for t in structure.tensors if (m := _BLOCK.match(t.name))}
    if facts.layers and not facts.decoder_layers and len(stored) < facts.layers and len(stored) == members:
        return f"shared by {facts.layers} layers"
    return ""


def _show_tied_head(nodes: tuple[Node, ...], target: str) -> tuple[Node, ...]:
    short = target.removesuffix(".weight").rpartition(".")[2]
    return (*nodes, Node("head", 1, 0, 0, f"tied to {short}", "", "", ()))


def note_for(name: str, tensors: tuple[TensorFact, ...], structure: Structure) -> str:
    """The family's words for a line: heads and positions for attention, the activation for the feed-forward part."""
    tied = next((t.tied_to for t in tensors if t.tied_to), None)
    if tied and len(tensors) <= 2:
        return f"tied to {tied.removesuffix('.weight').rpartition('.')[2]}"
    first = re.sub(r"^\d+\.", "", name).partition(".")[0].lower()
    if re.fullmatch(r"(self_?|rel_|multi_head_)?(attn|attentions?)", first):
        return structure.facts.attention_words
    if re.fullmatch(r"encdecattention|encoder_attn|cross_?(attn|attention)", first):
        return f"{structure.facts.heads} heads" if structure.facts.heads else ""
    if re.fullmatch(r"mlp|ffns?|ff|feed_forward|intermediate|fc1|densereludense", first):
        return structure.facts.activation
    return ""


def shapes(tensors: tuple[TensorFact, ...]) -> str:
    """Shapes of the weight matrices below a line, equal ones named together: `q,o 512×512  k,v 128×512`."""
    main = [t for t in tensors if len(t.shape) > 1] or [t for t in tensors if not t.name.endswith(".bias")] or tensors
    if len(main) == 1 or not main:
        return times(main[0].shape) if main else ""
    if len(main) > 12:
        return ""
    named: dict[tuple[int, ...], list[str]] = {}
    for t in sorted(main, key=lambda t: rank(_short(t.name))):
        named.setdefault(t.shape, []).append(_short(t.name))
    return "  ".join(f"{','.join(dict.fromkeys(names))} {times(shape)}" for shape, names in named.items())


def _short(name: str) -> str:
    part = name.removesuffix(".weight").rpartition(".")[2]
    return re.sub(r"(?<!^c)_(proj|lin|embeddings)$", "", part)


def times(shape: tuple[int, ...]) -> str:
    """`(32000, 512)` -> `32000×512`; a scalar is `scalar`."""
    return "×".join(map(str, shape)) or "scalar"


def span(numbers: list[str]) -> str:
    """Numbers as ranges: 0 1 2 5 -> `0-2,5`; regular gaps as `0,2,..30`."""
    values = [int(n) for n in numbers]
    steps = {b - a for a, b in pairwise(values)}
    if len(values) > 3 and len(steps) == 1 and steps != {1}:
        return f"{values[0]},{values[1]},..{values[-1]}"
    parts: list[list[int]] = []
    for v in values:
        if parts and v == parts[-1][-1] + 1:
            parts[-1].append(v)
        else:
            parts.append([v])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def rank(name: str) -> tuple[int, str]:
    """Sort key that puts parts in the order of data flow; unknown names in natural order."""
    first, dot, rest = name.partition(".")
    if dot and first.isdigit():
        below, words = rank(rest)
        return len(_EARLY), f"{first.zfill(9)}.{below:03}.{words}"
    low = name.lower()
    natural = re.sub(r"\d+", lambda m: m.group().zfill(9), low)
    for i, pattern in enumerate(_EARLY):
        if pattern.search(low):
            return i, natural
    late = next((i for i, pattern in enumerate(_LATE, 1) if pattern.search(low)), 0)
    return len(_EARLY) + late, natural


def _signature(module: _Module) -> object:
    return tuple(
        (n, (c.shape, c.dtype) if isinstance(c, TensorFact) else _signature(c))
        for n, c in sorted(module.children.items())
    )


def _dtype(tensors: tuple[TensorFact, ...]) -> str:
    return ",".join(dict.fromkeys(t.dtype for t in tensors))
