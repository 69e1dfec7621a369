"""Check one value against the description of its key, and say how to mend it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from llmkit.recipe.keys import Spec
from llmkit.recipe.problems import Report, Spot
from llmkit.recipe.safe_yaml import Node, read_yaml, resolve_plain
from llmkit.suggest import nearest

_YES_NO = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


@dataclass
class Wrong(Exception):
    """A value that cannot be used: a code, what is wrong (to follow the key's name), and the way out."""

    code: str
    message: str
    fix: str | None = None
    pointer: str | None = None
    suggestions: tuple[str, ...] = ()
    at: Spot | None = None


def flag_node(text: str) -> Node:
    """The value of `--set key=text`: YAML where it opens with a bracket or a quotation mark, else the text as it is."""
    whole = Spot(1, 0, len(text))
    if text.lstrip()[:1] in ("[", "{", '"', "'"):
        scratch = Report("")
        node = read_yaml(text, scratch)
        if node is not None and not scratch.problems:
            return node if node.quoted else replace(node, raw=text)
    return Node(resolve_plain(text.strip()), whole, text)


def check_value(node: Node, spec: Spec, *, from_flag: bool) -> Any:
    """The value for `spec`, with its exact type; raises Wrong. From a flag, text needs no quotes."""
    if spec.many != "no" and isinstance(node.value, list):
        if not node.value and spec.default in ((), []):
            return spec.default  # "as usual", as the recipe beside a checkpoint says it
        if not node.value and not spec.optional:
            raise Wrong("type", "is an empty list", "name at least one")
        return [_item(item, spec, from_flag=from_flag) for item in node.value]
    if spec.many == "only":
        if node.value is None and spec.optional:
            return None
        raise Wrong("type", f"is {_what(node)}, not {spec.type_words()}", f"write {spec.leaf}: [{node.raw or '...'}]")
    return _one(node, spec, from_flag=from_flag)


def _item(node: Node, spec: Spec, *, from_flag: bool) -> Any:
    try:
        return _one(node, replace(spec, many="no", optional=False), from_flag=from_flag)
    except Wrong as wrong:
        wrong.at = node.spot
        wrong.message = f"has an item that {wrong.message}"
        raise


def _one(node: Node, spec: Spec, *, from_flag: bool) -> Any:
    value = node.value
    if from_flag and spec.kind == "str" and not node.quoted and value is not None:
        value = node.raw or value
    if value is None:
        if spec.optional:
            return None
        default = "" if spec.is_required else f", or remove the line to get {plain(spec.default)}"
        raise Wrong("type", "is empty", f"write {spec.type_words()}{default}")
    checked = {"int": _int, "float": _float, "bool": _bool, "str": _str, "map": _map}[spec.kind](
        replace(node, value=value), spec
    )
    _check_limits(checked, spec)
    return checked


def _int(node: Node, spec: Spec) -> int:
    value = node.value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 2**53:
            return int(value)  # 1e4 steps
        raise Wrong("type", f"is {node.raw or value}, not a whole number", f"write a whole number{_example(spec)}")
    raise _not_a_number(node, spec, "a whole number")


def _float(node: Node, spec: Spec) -> float:
    value = node.value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise Wrong("range", f"is {node.raw}, far too large", _range_fix(spec)) from None
    raise _not_a_number(node, spec, "a number")


def _not_a_number(node: Node, spec: Spec, wanted: str) -> Wrong:
    message = f"is {_what(node)}, not {wanted}"
    text = node.value if isinstance(node.value, str) else ""
    bare = text.strip().replace("_", "").replace(",", "").replace(" ", "").lstrip("+")
    bare = re.sub(r"^(-?)0+(?=\d)", r"\1", bare)
    if isinstance(resolve_plain(bare), (int, float)) and not isinstance(resolve_plain(bare), bool):
        why = "remove the quotes" if bare == text and node.quoted else "write the plain number"
        return Wrong("type", message, f"{why}: {spec.leaf}: {bare}")
    if re.fullmatch(r"-?\d{65,}", bare):
        return Wrong("range", "is far too large", _range_fix(spec))
    return Wrong("type", message, f"write {wanted}{_example(spec)}")


def _example(spec: Spec) -> str:
    if isinstance(spec.default, (int, float)) and not isinstance(spec.default, bool):
        return f" such as {plain(spec.default)}"
    return f" ({spec.limits()})" if spec.limits() else ""


def _bool(node: Node, spec: Spec) -> bool:
    if isinstance(node.value, bool):
        return node.value
    guess = node.raw.lower()
    guess = _YES_NO.get(guess, guess if guess in ("true", "false") else "true or false")
    raise Wrong("type", f"is {_what(node)}, not true or false", f"write {spec.leaf}: {guess}")


def _str(node: Node, spec: Spec) -> str:
    if isinstance(node.value, str):
        return node.value
    if isinstance(node.value, (dict, list)):
        raise Wrong("type", f"is {_what(node)}, not text", f"write one value after {spec.leaf}:")
    if spec.key.choices:
        raise _no_such_choice(node.raw, spec)
    raise Wrong("type", f"is {_what(node)}, not text", f'put it in quotes: "{node.raw}"')


def _map(node: Node, spec: Spec) -> dict[str, Any]:
    if not isinstance(node.value, dict):
        raise Wrong("type", f"is {_what(node)}, not {spec.type_words()}", f"write {spec.leaf}: {{key: value}}")
    return {name: _plain_data(entry.node) for name, entry in node.value.items()}


def _plain_data(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {name: _plain_data(entry.node) for name, entry in node.value.items()}
    return [_plain_data(item) for item in node.value] if isinstance(node.value, list) else node.value


def _check_limits(value: Any, spec: Spec) -> None:
    k = spec.key
    if isinstance(value, str):
        if k.choices and value not in k.choices:
            raise _no_such_choice(value, spec)
        if k.pattern and not re.fullmatch(k.pattern, value):
            raise Wrong(
                "value", f"is {plain(value)}, which is not allowed", f"{spec.key.help}; it must match {k.pattern}"
            )
        return
    if isinstance(value, (bool, dict)):
        return
    too_low = (k.low is not None and value < k.low) or (k.above is not None and value <= k.above)
    if too_low or (k.high is not None and value > k.high) or not math.isfinite(value):
        raise Wrong("range", f"is {value}; it must be {spec.must_be() or 'finite'}", _range_fix(spec))


def _range_fix(spec: Spec) -> str:
    return f"{spec.leaf}: {spec.key.help}; {spec.must_be()}" if spec.key.help else f"choose a value {spec.must_be()}"


def _no_such_choice(text: str, spec: Spec) -> Wrong:
    near = nearest(text, spec.key.choices)
    pointer = "did you mean " + " or ".join(f"`{n}`" for n in near) + "?" if near else None
    return Wrong(
        "value", f"is {plain(text)}, which does not exist", f"choose from {spec.limits()}", pointer, tuple(near)
    )


def _what(node: Node) -> str:
    """A value's kind in words."""
    value = node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "empty"
    if isinstance(value, (int, float)):
        return "a number"
    return "text" if isinstance(value, str) else "a list" if isinstance(value, list) else "a table"


def plain(value: Any) -> str:
    """A value as a message shows it: short, with quotes around text."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    return str(value)
