"""Read a Hugging Face config.json with suspicion: wrong types and unsupported settings are refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from llmkit.errors import InputRefused, UsageError
from llmkit.models.config import LABELLED, ModelConfig
from llmkit.suggest import did_you_mean

C = TypeVar("C", bound=ModelConfig)
_MOST_LABELS = 2**16
_REQUIRED: Any = object()


@dataclass(frozen=True)
class Key:
    """Where config.json keeps one of our settings, and what transformers assumes when the file does not.

    also: other names that files use, and that go before it where a file has both, as in transformers. fallback: names
    looked up where it is absent. null: what a stored null means, where that is
    something else than absence. kept: only given back when a model is saved; nothing here computes with it.
    """

    theirs: str
    default: object = _REQUIRED
    also: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    null: object = _REQUIRED
    kept: bool = False


class Fixed:
    """A setting that changes the computation and is supported with the `harmless` values only."""

    def __init__(self, theirs: str, *harmless: object, because: str) -> None:
        self.theirs = theirs
        self.harmless = harmless
        self.because = because


class HfConfig:
    """Typed look-ups in a config.json. Several names for one setting are tried in order; null counts as absent.

    Keys that nobody asks for are ignored, as transformers does: they do not reach its computation either.
    """

    def __init__(self, raw: Mapping[str, object], title: str) -> None:
        self.raw = raw
        self.title = title

    def get(self, *names: str, default: Any = _REQUIRED) -> Any:
        for name in names:
            if self.raw.get(name) is not None:
                return self.raw[name]
        if default is _REQUIRED:
            raise InputRefused(f"config.json: {names[-1]!r} is missing; {self.title} cannot be built without it")
        return default

    def whole(self, *names: str, default: Any = _REQUIRED) -> Any:
        return self._typed(names, default, (int,), "a whole number")

    def number(self, *names: str, default: Any = _REQUIRED) -> Any:
        return self._typed(names, default, (int, float), "a number")

    def text(self, *names: str, default: Any = _REQUIRED) -> Any:
        return self._typed(names, default, (str,), "a word")

    def flag(self, *names: str, default: Any = _REQUIRED) -> Any:
        return self._typed(names, default, (bool,), "true or false")

    def read(self, key: Key, type_name: str) -> Any:
        """The value of `key` for a setting annotated `type_name`: int, float, bool or str, perhaps `| None`."""
        names = (*key.also, key.theirs, *key.fallback)
        stored = [self.raw[name] for name in names if name in self.raw]
        if stored and all(value is None for value in stored):
            if key.null is not _REQUIRED:
                return key.null
            if type_name.endswith(" | None"):
                return None
        look_up = {"int": self.whole, "float": self.number, "bool": self.flag, "str": self.text}
        return look_up[type_name.removesuffix(" | None")](*names, default=key.default)

    def refuse(self, name: str, *harmless: object, because: str) -> None:
        """Refuse a setting that changes the computation, unless absent, null, or one of the `harmless` values."""
        value = self.raw.get(name)
        if value is None or any(value is h or (type(value) is type(h) and value == h) for h in harmless):
            return
        raise InputRefused(f"config.json: '{name}' is {_short(value)}, unsupported for {self.title}: {because}")

    def wrong(self, name: str, value: object, wanted: str) -> InputRefused:
        return InputRefused(f"config.json: {name!r} is {_short(value)}; it must be {wanted}")

    def head(self, heads: Mapping[str, str], old: Mapping[str, str] | None = None, *, default: str) -> str:
        """Our name of the head that `architectures` asks for; `default` when it says nothing."""
        stored = self.get("architectures", default=None)
        if not stored:
            return default
        if not isinstance(stored, list) or not isinstance(stored[0], str):
            raise self.wrong("architectures", stored, "a list of class names")
        for ours, theirs in heads.items():
            if theirs == stored[0]:
                return ours
        if old and stored[0] in old:
            return old[stored[0]]
        hint = did_you_mean(stored[0], heads.values()) or f"supported: {', '.join(heads.values())}"
        raise InputRefused(f"config.json: architecture {_short(stored[0])} of {self.title} is not supported", hint)

    def labels(self, head: str) -> tuple[str, ...]:
        """Class names by index for a classification head, () for others; LABEL_0... when the file names none."""
        if head not in LABELLED:
            return ()
        names = self.get("id2label", default=None)
        if names is None:
            count = self.whole("num_labels", default=2)
            if not 1 <= count <= _MOST_LABELS:
                raise self.wrong("num_labels", count, f"between 1 and {_MOST_LABELS}")
            return tuple(f"LABEL_{i}" for i in range(count))
        if not isinstance(names, Mapping) or not 1 <= len(names) <= _MOST_LABELS:
            raise self.wrong("id2label", names, f"a table of 1 to {_MOST_LABELS} class names")
        by_index = {str(index): name for index, name in names.items()}
        found = [by_index.get(str(i)) for i in range(len(by_index))]
        if not all(isinstance(name, str) for name in found):
            raise self.wrong("id2label", names, "one name for every index from 0")
        return tuple(str(name) for name in found)

    def token_ids(self, vocab_size: int, **defaults: int) -> dict[str, Any]:
        """pad_id, bos_id, eos_id and extra_eos_ids. Ids that no vocabulary can hold (-1 is common) count as absent.

        defaults: what transformers assumes for a key the file leaves out (a stored null means none).
        """
        stored = {**defaults, **self.raw}
        eos = stored.get("eos_token_id")
        ends = eos if isinstance(eos, list) else [eos]
        first, *further = [self._id("eos_token_id", e, vocab_size) for e in ends] or [None]
        return {
            "pad_id": self._id("pad_token_id", stored.get("pad_token_id"), vocab_size),
            "bos_id": self._id("bos_token_id", stored.get("bos_token_id"), vocab_size),
            "eos_id": first,
            "extra_eos_ids": tuple(e for e in further if e is not None),
        }

    def make(self, config_class: type[C], names: Mapping[str, str], **values: Any) -> C:
        """The config with these values; what it finds illegal is the file's fault, so InputRefused.

        names: our settings -> their keys, to say which one of the file it is.
        """
        try:
            return config_class(**values)
        except UsageError as error:
            theirs = names.get(error.message.partition(" ")[0])
            where = f"config.json: {theirs!r}: " if theirs else "config.json: "
            raise InputRefused(where + error.message, error.hint) from None

    def _typed(self, names: tuple[str, ...], default: Any, types: tuple[type, ...], wanted: str) -> Any:
        value = self.get(*names, default=default)
        if value is default:
            return value
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise self.wrong(next(n for n in names if self.raw.get(n) is not None), value, wanted)
        return value

    def _id(self, name: str, value: object, vocab_size: int) -> Any:
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.wrong(name, value, "a token id")
        return value if 0 <= value < vocab_size else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
