"""Linear and embedding layers that leave their first values to the family that wires them."""

from __future__ import annotations

from torch import nn


class Linear(nn.Linear):
    """x W^T + b. Shapes: (..., d_in) -> (..., d_out).

    Memory is only reserved: every family draws its weights once, as its paper says, or loads them. Drawing the
    framework's default first would double the time to build a model.
    """

    def reset_parameters(self) -> None:
        pass


class Embedding(nn.Embedding):
    """Rows of a table by id. Shapes: (...) of ids -> (..., d_model). Memory is only reserved, see `Linear`."""

    def reset_parameters(self) -> None:
        pass
