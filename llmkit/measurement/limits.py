"""What this machine can do at best: matrix products at a model's own shapes, and reading memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmkit.training.limit import ways_to_multiply

if TYPE_CHECKING:
    from llmkit.models.shells import Model

Case = Callable[[], float]
Product = tuple[int, int, int]
"""A matrix product of a linear layer: (rows, out, in), rows being tokens."""


def sync(device: str) -> None:
    """Wait for the accelerator, whose work is queued; nothing to do on the processor."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


@contextmanager
def recorded_products(model: nn.Module) -> Iterator[Counter[Product]]:
    """Count the products that the linear layers of `model` do inside.

    What was done is counted and not what the sizes suggest: an output layer sees only the tokens that are predicted,
    and an encoder's batches are not all of full width.
    """
    found: Counter[Product] = Counter()

    def note(layer: nn.Module, given: tuple[Any, ...], result: Tensor) -> None:
        found[(result.numel() // result.shape[-1], result.shape[-1], given[0].shape[-1])] += 1

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.Linear)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def flops(products: Mapping[Product, int]) -> float:
    """Floating-point operations of these products (a multiplication and an addition count as two)."""
    return float(sum(2 * rows * out * into * n for (rows, out, into), n in products.items()))


def attention_flops(model: Model, tokens: int) -> float:
    """Operations per token of scores and weighted sums over `tokens` keys; half of them where the mask is causal."""
    c = model.config
    return 4.0 * c.n_layers * c.n_heads * c.head_dim * tokens * (0.5 if model.is_causal else 1.0)


def gemm_case(products: Mapping[Product, int], dtype: torch.dtype, device: str, *, backward: bool = False) -> Case:
    """A case that times each product by every way this machine's torch knows, and returns the seconds for all of them
    at the best any way reached so far: what can be beaten is no limit.

    backward: also the products that give the gradients of input and weight, which differ in speed. Results go into
    memory that is there already: fetching new pages for a large one would take as long as the product.
    """

    def empty(*shape: int) -> Tensor:
        return torch.zeros(shape, device=device, dtype=dtype)

    ways: list[tuple[int, list[Callable[[], object]]]] = []
    for (rows, out, into), count in products.items():
        x, weight, y = empty(rows, into).normal_(), empty(out, into).normal_(), empty(rows, out)
        by_columns = weight.t().contiguous()
        ways.append((count, [*ways_to_multiply(x, weight.t(), y), *ways_to_multiply(x, by_columns, y)]))
        if backward:
            dy = empty(rows, out).normal_()
            ways.append((count, ways_to_multiply(dy, weight, empty(rows, into))))
            ways.append((count, ways_to_multiply(dy.t(), x, empty(out, into))))
    fastest = [float("inf")] * len(ways)

    @torch.inference_mode()
    def run() -> float:
        for i, (_, calls) in enumerate(ways):
            fastest[i] = min(fastest[i], *(best_of(call, device) for call in calls))
        return sum(count * seconds for (count, _), seconds in zip(ways, fastest, strict=True))

    return run


def read_case(n_bytes: int, device: str) -> Case:
    """A case that reads `n_bytes` of float32 weights, as a matrix times a vector does by rows or by columns, and
    returns the seconds of the faster way."""
    columns = 1024
    matrix = torch.randn(max(1, n_bytes // 4 // columns), columns, device=device)
    wide, tall = torch.randn(columns, device=device), torch.randn(len(matrix), device=device)

    @torch.inference_mode()
    def run() -> float:
        by_rows = best_of(lambda: torch.mv(matrix, wide), device)
        return min(by_rows, best_of(lambda: torch.mv(matrix.t(), tall), device))

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
