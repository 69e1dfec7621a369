"""Find a family by its model_type. The list is the folder itself, so nothing can drift."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from llmkit.errors import UsageError
from llmkit.models import families
from llmkit.models.config import ModelConfig
from llmkit.models.family import Family
from llmkit.suggest import did_you_mean


def family_names() -> list[str]:
    """Names of all families, sorted: the files of `families/`, none of them imported."""
    return sorted(m.name for m in iter_modules(families.__path__) if not m.name.startswith("_"))


def load_family(model_type: str) -> Family:
    """The family of a Hugging Face model_type ('-' and '_' alike). Raises UsageError for one we do not have."""
    name = model_type.replace("-", "_")
    # Looked up in the list before importing: the name may come from an untrusted config.json.
    if name not in family_names():
        known = family_names()
        raise UsageError(
            f"no model family {model_type!r}", did_you_mean(name, known) or f"the families are {', '.join(known)}"
        )
    family: Family = import_module(f"llmkit.models.families.{name}").FAMILY
    return family


def family_of(config: ModelConfig) -> Family:
    """The family whose configuration this is."""
    return load_family(type(config).__module__.rpartition(".")[2])
