"""JSON lines as input: a text in a named field of each, and an `id` handed back with the answer."""

from __future__ import annotations

import json
from pathlib import Path

from llmkit.data.rows import refuse_half_pairs
from llmkit.data.text_in import shown
from llmkit.errors import InputRefused, UsageError
from llmkit.suggest import did_you_mean

Record = dict[str, object]


def parse_record(source: Path, number: int, line: str, field: str) -> Record:
    """One line of a JSONL file as an object; a bare string stands for {field: string}. Raises InputRefused."""
    where = f"{shown(source)}:{number}"
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputRefused(
            f"{where}: not JSON ({error.msg.lower()} at column {error.colno})", "one JSON object or string per line"
        ) from None
    except RecursionError:
        raise InputRefused(f"{where}: JSON nested too deeply") from None
    except ValueError:
        raise InputRefused(f"{where}: JSON with a number of too many digits") from None
    if isinstance(record, str):
        return {field: record}
    if not isinstance(record, dict):
        raise InputRefused(f"{where}: neither an object nor a string", f'as in {{"{field}": "Once"}}')
    _check_id(record.get("id"), where)
    return record


def _check_id(value: object, where: str) -> None:
    """It goes into the answer as it is, which must be JSON that can be written and that everyone reads."""
    refuse_half_pairs(value, where)
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise InputRefused(
            f"{where}: NaN or an infinity in the id, which JSON does not have", "use a text or a plain number"
        ) from None


def text_of(source: Path, number: int, record: Record, field: str, *, is_first: bool = False) -> str:
    """The text in `field`; raises InputRefused with the line and the fields there are.

    is_first: no record came before; one without the field means that the name is wrong then, which is a UsageError.
    """
    where = f"{shown(source)}:{number}"
    text = record.get(field)
    if not isinstance(text, str):
        names = ", ".join(record) or "nothing"
        near = None if field in record else did_you_mean(field, record)
        hint = near or f"the line holds: {names}; name the field with --field"
        refused = UsageError if is_first and field not in record else InputRefused
        raise refused(f"{where}: no text in the field {field!r}", hint)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputRefused(f"{where}: half of a surrogate pair in the field {field!r}") from None
    return text


def identity(record: Record) -> Record:
    """What of the input line goes into the answer: its `id`, if it has one."""
    return {"id": record["id"]} if "id" in record else {}
