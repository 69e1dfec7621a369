"""Attention beside convolutions whose kernels are made from the span of tokens they stand on (Jiang et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmkit.nn.attention import AttentionPart
from llmkit.nn.context import Context
from llmkit.nn.linear import Linear

_BLOCK = 16  # tokens whose kernels make one matrix; more waste multiplications by zero, fewer make small products


class MixedAttention(AttentionPart):
    """Half of each head attends, the other half is a convolution with kernels of its own at every token.

    A kernel is the softmax of what `weigh` makes of query times span; a span is a separable convolution of the hidden
    states, `pointwise(depthwise(x))`. Convolutions see padding as they see any token. kernel_size: tokens, odd.

    Shapes: x (batch, seq, d_model) -> (batch, seq, d_model). `project` holds the rows of queries, keys, values and
    convolved values, each n_heads * head_dim high, where head_dim is half of d_model / n_heads.
    """

    def __init__(self, d_model: int, n_heads: int, *, kernel_size: int, dropout: float = 0.0) -> None:
        head_dim = d_model // n_heads // 2
        super().__init__(scale=head_dim**-0.5, dropout=dropout)
        self.n_heads = n_heads
        self.head_dim = head_dim
        self.kernel_size = kernel_size
        width = n_heads * head_dim
        self.project = Linear(d_model, 4 * width)
        self.depthwise = DepthwiseConvolution(d_model, kernel_size)
        self.pointwise = Linear(d_model, width)
        self.weigh = Linear(width, n_heads * kernel_size)
        self.out = Linear(2 * width, d_model)

    def forward(self, x: Tensor, ctx: Context) -> Tensor:
        q, k, v, convolved = self.project(x).unflatten(-1, (4, self.n_heads, self.head_dim)).unbind(2)
        spans = self.pointwise(self.depthwise(x))
        kernels = self.weigh(spans * q.flatten(2)).unflatten(-1, (self.n_heads, self.kernel_size)).softmax(-1)
        attended = self.attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), ctx.mask).transpose(1, 2)
        return self.out(torch.cat([attended, convolve_each(convolved, kernels)], 2).flatten(2))

    def extra_repr(self) -> str:
        return f"heads={self.n_heads}, head_dim={self.head_dim}, kernel={self.kernel_size}, scale={self.scale:.4g}"


class DepthwiseConvolution(nn.Module):
    """Every channel convolved along the text with a kernel of its own, zeros beyond its ends.

    Shapes: x (batch, seq, channels) -> same; weight (channels, 1, kernel_size).
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))

    def draw(self, std: float) -> None:
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Tensor) -> Tensor:
        channels, _, kernel_size = self.weight.shape
        # As an image one pixel high: its channels-last layout is the one x has, so nothing is transposed in memory.
        image = x.transpose(1, 2).unsqueeze(2)
        y = F.conv2d(image, self.weight.unsqueeze(2), padding=(0, kernel_size // 2), groups=channels)
        return y.squeeze(2).transpose(1, 2)


def convolve_each(values: Tensor, kernels: Tensor) -> Tensor:
    """The sum of the values around each token, weighted by that token's own kernel.

    Shapes: values (batch, seq, heads, head_dim), kernels (batch, seq, heads, kernel_size) -> as values.

    A block of tokens takes one product of a banded matrix with the values it can reach: copying the kernel_size
    neighbours of every token, as the formula says, would write kernel_size times as much.
    """
    seq, kernel_size = kernels.shape[1], kernels.shape[3]
    block = min(_BLOCK, seq)
    n_blocks = -(-seq // block)
    reach, left = block + kernel_size - 1, n_blocks * block - seq
    # A row longer by one than the matrix is wide: read on in rows of that width, each kernel is one further right.
    rows = F.pad(kernels, (0, block, 0, 0, 0, left)).unflatten(1, (n_blocks, block)).transpose(2, 3).flatten(3)
    bands = rows[..., : block * reach].unflatten(-1, (block, reach))
    padded = F.pad(values, (0, 0, 0, 0, kernel_size // 2, kernel_size // 2 + left))
    windows = padded.unfold(1, reach, block).transpose(-1, -2)
    return (bands @ windows).transpose(2, 3).flatten(1, 2)[:, :seq]
