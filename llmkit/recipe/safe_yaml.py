"""A small, hardened YAML: maps, lists and scalars with their lines, and nothing that can grow, call or surprise.

Left out on purpose: anchors, aliases and merge keys (they expand exponentially), tags (they name code), directives,
several documents, and the odd scalars of YAML 1.1: `no` is text, 010 and 12:30 are text, 1e-4 is a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from llmkit.recipe.problems import Report, Spot

# PyYAML's Python scanner needs up to three seconds for 1 MiB of words; a recipe has 4 KiB.
MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_TOKENS = 20_000
# A longer run of digits is no size or rate; converting it would cost quadratic time.
MAX_NUMBER = 64

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OPENERS = (
    yaml.BlockSequenceStartToken,
    yaml.BlockMappingStartToken,
    yaml.FlowSequenceStartToken,
    yaml.FlowMappingStartToken,
)
_CLOSERS = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)
_REFUSED = {
    yaml.AnchorToken: "an anchor (&name)",
    yaml.AliasToken: "an alias (*name)",
    yaml.TagToken: "a tag (!name)",
    yaml.DirectiveToken: "a directive (%NAME)",
}

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Node:
    """A value and where it stands. `raw` is a scalar as written; `quoted` tells '"5"' from '5'."""

    value: Scalar | list[Node] | dict[str, Entry]
    spot: Spot
    raw: str = ""
    quoted: bool = False


@dataclass(frozen=True)
class Entry:
    """One key of a map with the place of the key itself."""

    spot: Spot
    node: Node


def read_yaml(text: str, report: Report) -> Node | None:
    """Parse `text`, noting what is wrong in `report`; None when there is nothing to go on with.

    Every input ends in well under a second: size, tokens and depth are capped before anything is built.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        report.add("too_large", f"more than {MAX_BYTES // 1024} KiB", fix="a recipe is a short text; is this the file?")
        return None
    try:
        if not _scan(text, report):
            return None
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = (error.problem or error.context or "not readable").replace("'\\t'", "a tab")
        fix = "indent with spaces, not tabs" if "a tab" in what else "look at this line and the one above it"
        report.add("syntax", f"not valid YAML: {what}", _spot(mark) if mark else None, fix=fix)
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - (text.rfind("\n", 0, error.position) + 1)
        report.add("syntax", f"character U+{error.character:04X}, which YAML does not allow", Spot(line, column))
        return None
    if root is None:
        return Node({}, Spot(1, 0))
    return _node(root, report)


def resolve_plain(raw: str) -> Scalar:
    """The value of an unquoted scalar by the core rules of YAML 1.2, with `true` and `false` as the only booleans."""
    if raw in ("", "~", "null", "Null", "NULL"):
        return None
    if raw in ("true", "false"):
        return raw == "true"
    if len(raw) <= MAX_NUMBER:
        if _INT.fullmatch(raw):
            return int(raw)
        # 010 is octal to some and ten to others, so it is neither.
        if _FLOAT.fullmatch(raw) and not re.match(r"[-+]?0[0-9]", raw):
            return float(raw.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return raw


def split_lines(text: str) -> list[str]:
    """The lines of `text` as YAML counts them, which is not how `str.splitlines` does."""
    return re.split("\r\n|[\n\r\x85\u2028\u2029]", text)


class _Loader(yaml.SafeLoader):
    """The pure-Python loader (the C one can crash on deep input), used for its node tree only."""


def _scan(text: str, report: Report) -> bool:
    """Look at the tokens alone; False when one of them is refused."""
    depth = documents = 0
    for count, token in enumerate(_tokens(text)):
        if isinstance(token, _OPENERS):
            depth += 1
        elif isinstance(token, _CLOSERS):
            depth -= 1
        documents += isinstance(token, yaml.DocumentStartToken)
        what = _REFUSED.get(type(token))
        if what:
            fix = "write the value out; recipes have no anchors, aliases, merge keys, tags or directives"
            report.add("unsafe", f"{what} is not allowed", _spot(token.start_mark, token.end_mark), fix=fix)
        elif depth > MAX_DEPTH:
            report.add("unsafe", f"nested deeper than {MAX_DEPTH} levels", _spot(token.start_mark))
        elif count > MAX_TOKENS:
            report.add("unsafe", f"more than {MAX_TOKENS} words and marks", _spot(token.start_mark))
        elif documents > 1:
            report.add("unsafe", "a second document (---)", _spot(token.start_mark), fix="one recipe per file")
        else:
            continue
        return False
    return True


def _tokens(text: str) -> Iterator[yaml.Token]:
    loader = _Loader(text)
    try:
        while loader.check_token():
            yield loader.get_token()
    finally:
        loader.dispose()


def _node(node: yaml.Node, report: Report) -> Node:
    spot = _spot(node.start_mark, node.end_mark)
    if isinstance(node, yaml.ScalarNode):
        quoted = node.style is not None
        return Node(node.value if quoted else resolve_plain(node.value), spot, node.value, quoted)
    if isinstance(node, yaml.SequenceNode):
        return Node([_node(item, report) for item in node.value], spot)
    entries: dict[str, Entry] = {}
    for key, value in node.value:
        at = _spot(key.start_mark, key.end_mark)
        if not isinstance(key, yaml.ScalarNode):
            report.add("syntax", "a key that is not a word", at, fix="write key: value")
        elif key.value == "<<":
            report.add("unsafe", "a merge key (<<) is not allowed", at, fix="write the keys out")
        elif key.value in entries:
            first = entries[key.value].spot.line
            report.add(
                "duplicate_key", f"key `{key.value}` again", at, pointer=f"first on line {first}", fix="keep one"
            )
        else:
            entries[key.value] = Entry(at, _node(value, report))
    return Node(entries, spot)


def _spot(start: yaml.Mark, end: yaml.Mark | None = None) -> Spot:
    same_line = end is not None and end.line == start.line
    return Spot(start.line + 1, start.column, max(1, end.column - start.column) if end and same_line else 1)
