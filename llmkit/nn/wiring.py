"""How parts are joined. A family file chooses the wiring; nothing here asks which family it is.

Absent norms are `Identity`, so no forward has a condition.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llmkit.nn.context import Context


class Residual(nn.Module):
    """x -> post_norm(x + dropout(branch_norm(body(pre_norm(x))))).

    pre_norm: GPT-2, LLaMA. post_norm: BERT and the original transformer. branch_norm: on the branch before the sum.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        pre_norm: nn.Module | None = None,
        branch_norm: nn.Module | None = None,
        post_norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm or nn.Identity()
        self.body = body
        self.branch_norm = branch_norm or nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.post_norm = post_norm or nn.Identity()

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        branch = self.branch_norm(self.body(self.pre_norm(x), ctx))
        return self.post_norm(x + self.dropout(branch))


class NormedResidual(Residual):
    """The same with the normed input as what the branch is added to: y + dropout(branch(y)), where y = pre_norm(x).

    Megatron-LM's --apply-residual-connection-post-layernorm.
    """

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        y = self.pre_norm(x)
        return self.post_norm(y + self.dropout(self.branch_norm(self.body(y, ctx))))


class Normed(nn.Module):
    """dropout(body(norm(x))): a branch with a norm of its own, inside `Parallel`."""

    def __init__(self, norm: nn.Module, body: nn.Module, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm = norm
        self.body = body
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        return self.dropout(self.body(self.norm(x), ctx))


class Parallel(nn.ModuleDict):
    """The sum of several branches on the same input (GPT-J, Falcon)."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        first, *others = (branch(x, ctx) for branch in self.values())
        for other in others:
            first = first + other
        return first


class Block(nn.ModuleDict):
    """Sublayers run one after the other, in the order given."""

    def __init__(self, **sublayers: nn.Module) -> None:
        super().__init__(sublayers)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        for sublayer in self.values():
            x = sublayer(x, ctx)
        return x


class Stack(nn.Module):
    """Blocks, then a last norm. The same block may stand in the list more than once (ALBERT).

    project: after the norm, to another width (OPT, whose token vectors may be narrower than its blocks).
    layer_drop: probability of leaving a block out, in training (Fan et al. 2019).

    Shapes: x (batch, seq, d_model) -> (batch, seq, d_model), or what `project` makes of the width.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        norm: nn.Module | None = None,
        *,
        project: nn.Module | None = None,
        layer_drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm or nn.Identity()
        self.project = project or nn.Identity()
        self.layer_drop = layer_drop

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        for layer, block in enumerate(self.blocks):
            if self.training and self.layer_drop and float(torch.rand(())) < self.layer_drop:
                continue
            ctx.layer = layer
            x = block(x, ctx)
        return self.project(self.norm(x))
