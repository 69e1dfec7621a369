"""llmkit: tokenizers and transformer models, from raw text to a trained, inspected, measured model."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; importing typing would cost shell completion a tenth of its time
if TYPE_CHECKING:
    from llmkit.api import load as load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> object:
    # Loading a model needs torch, which costs seconds; `import llmkit` must not pay for it.
    if name == "load":
        from llmkit.api import load

        return load
    raise AttributeError(f"module 'llmkit' has no attribute {name!r}")
