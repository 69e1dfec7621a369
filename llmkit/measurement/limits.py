"""What this machine can do at best: matrix products at a model's own shapes, and reading memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from llmkit.models.shells import Model

Case = Callable[[], float]


def sync(device: str) -> None:
    """Wait for the accelerator, whose work is queued; nothing to do on the processor."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


def matrix_shapes(model: Model, *, head_rows: float = 1.0) -> Counter[tuple[int, int]]:
    """Weight matrices (out, in) that every token is multiplied with, and how often; embeddings only look rows up.

    The output layer counts as well, also when it is the embedding; head_rows is the share of tokens it sees.
    """
    table = model.embedding_weight
    lookups = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)} | {id(table)}
    shapes = Counter((p.shape[0], p.shape[1]) for p in model.parameters() if p.ndim == 2 and id(p) not in lookups)
    vocab_sized = any(shape[0] == table.shape[0] for shape in shapes)
    if not vocab_sized and head_rows > 0 and model.config.head != "backbone" and model.config.head != "classification":
        shapes[(table.shape[0], table.shape[1])] += 1
    return shapes


def forward_flops(shapes: Counter[tuple[int, int]]) -> float:
    """Floating-point operations per token of these products (a multiplication and an addition count as two)."""
    return float(sum(2 * out * into * n for (out, into), n in shapes.items()))


def attention_flops(model: Model, tokens: int) -> float:
    """Operations per token of scores and weighted sums over `tokens` keys; half of them where the mask is causal."""
    c = model.config
    return 4.0 * c.n_layers * c.n_heads * c.head_dim * tokens * (0.5 if model.is_causal else 1.0)


def gemm_case(
    shapes: Counter[tuple[int, int]], rows: int, dtype: torch.dtype, device: str, *, backward: bool = False
) -> Case:
    """A case that times the products of each shape for `rows` tokens and returns the seconds for all of them.

    backward: also the products that give the gradients of input and weight, which differ in speed. Results go into
    memory that is there already: fetching new pages for a large one would take as long as the product.
    """

    def empty(*shape: int) -> Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    products: list[tuple[int, Tensor, Tensor, Tensor]] = []
    for (out, into), count in shapes.items():
        x, weight, y = empty(rows, into).normal_(), empty(out, into).normal_(), empty(rows, out)
        products.append((count, x, weight.t(), y))
        if backward:
            dy = empty(rows, out).normal_()
            products += [(count, dy, weight, empty(rows, into)), (count, dy.t(), x, empty(out, into))]

    @torch.inference_mode()
    def run() -> float:
        return sum(count * best_of(partial(torch.mm, a, b, out=c), device) for count, a, b, c in products)

    return run


def read_case(n_bytes: int, device: str) -> Case:
    """A case that reads `n_bytes` of float32 weights, as a matrix times a vector does, and returns the seconds."""
    columns = 1024
    matrix = torch.randn(max(1, n_bytes // 4 // columns), columns, device=device)
    vector = torch.randn(columns, device=device)

    @torch.inference_mode()
    def run() -> float:
        return best_of(lambda: torch.mv(matrix, vector), device)

    return run


def best_of(work: Callable[[], object], device: str, times: int = 3) -> float:
    """Seconds of the fastest of a few calls in a row: a limit is what the machine can do when nothing disturbs it."""
    fastest = float("inf")
    for _ in range(times):
        sync(device)
        start = time.perf_counter()
        work()
        sync(device)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest
