"""Settings that Transformer-XL and XLNet share: distances, and the memory of earlier segments."""

from __future__ import annotations

from dataclasses import dataclass

from llmkit.errors import UsageError
from llmkit.models.config import ModelConfig, setting


@dataclass(frozen=True, kw_only=True)
class RelativeConfig(ModelConfig):
    """Sizes of a model that knows distances instead of positions, so that nothing limits its texts."""

    max_seq_len: int = setting(512, low=1, high=2**24, help="longest text in training, in tokens; nothing limits it")
    dropout: float = setting(0.1, low=0.0, high=1.0, help="dropout of embeddings, distances and branches")
    mem_len: int = setting(512, low=0, high=2**24, help="tokens of earlier segments that a memory keeps; 0: all")
    same_length: bool = setting(False, help="left to right, every token sees as many tokens as the first")
    clamp_len: int = setting(0, low=0, high=2**24, help="greater distances count as this one; 0: all are told apart")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % 2:
            raise UsageError(f"d_model is {self.d_model}; distances are pairs of sine and cosine, so it must be even")
