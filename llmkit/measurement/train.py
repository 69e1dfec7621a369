"""Training steps in float32 and bfloat16, beside this machine's matrix products at the model's own shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmkit.errors import UsageError
from llmkit.measurement.limits import attention_flops, flops, gemm_case, recorded_products, sync
from llmkit.measurement.memory import peak_bytes
from llmkit.measurement.result import Plan, Result, rated
from llmkit.measurement.samples import SEED, describe, model_for
from llmkit.measurement.timing import interleaved
from llmkit.models.shells import Model

if TYPE_CHECKING:
    from llmkit.training.trainer import Trainer


def measure(plan: Plan) -> Iterator[Result]:
    """Tokens per second of the real training loop: batch, forward, backward, clipping, AdamW.

    The limit is the time of the linear layers' products alone, forward and both ones backward. Attention, norms,
    the loss and the optimizer are not in it, so a share of 1 is out of reach.
    """
    model = model_for(plan)
    if not isinstance(model, Model) or model.config.head not in ("causal_lm", "masked_lm", "pretraining"):
        raise UsageError(f"{describe(plan, model)}: no training step to time with its head", "leave --model out")
    seq = min(plan.shape.context, model.config.max_seq_len)
    steps = {dtype: _steps(model, dtype, plan, seq) for dtype in ("float32", "bfloat16")}
    with recorded_products(model) as found:
        tokens = steps["float32"]()
    cases: dict[str, Callable[[], object]] = {}
    for dtype, step in steps.items():
        cases[dtype] = partial(_uncounted, step)
        cases[f"{dtype} products"] = gemm_case(found, getattr(torch, dtype), plan.device, backward=True)
    plan.notice(f"train: {describe(plan, model)}, batch {plan.shape.batch} x {seq} tokens")
    times = interleaved(cases, trials=plan.trials, budget=plan.budget)
    work = 3 * (flops(found) + tokens * attention_flops(model, seq))
    for dtype in steps:
        products = times[f"{dtype} products"].best
        gemm = 3 * flops(found) / products / 1e9
        detail = {
            "step_seconds": times[dtype].median,
            "gflop_per_s": work / times[dtype].median / 1e9,
            "limit_gflop_per_s": gemm,
        }
        yield rated(
            "train", dtype, "tok", tokens, times[dtype], limit=tokens / products,
            limit_name=f"{dtype} products, {gemm:.0f} GFLOP/s", peak_bytes=peak_bytes(cases[dtype], plan.device),
            detail=detail,
        )  # fmt: skip


def _steps(model: Model, dtype: str, plan: Plan, seq: int) -> Callable[[], int]:
    """A function that takes one optimizer step in the trainer's own loop, on the same batch each time it is called, and
    returns how many tokens that were; padding is none."""
    from llmkit.recipe.schema import TrainSettings
    from llmkit.training.learner import Learner
    from llmkit.training.optim import make_optimizer
    from llmkit.training.trainer import Trainer

    settings = TrainSettings(
        steps=1, batch_size=plan.shape.batch, seq_len=seq, dtype=dtype, lr=1e-6, schedule="constant", log_every=10**9,
        eval_every=0, save_every=0, seed=SEED,
    )  # fmt: skip
    objective = _causal(model, seq) if model.is_causal else _masked(model, seq, plan.shape.batch)
    optimizer = make_optimizer(Learner(model, objective), settings)

    def step() -> int:
        trainer: Trainer = Trainer(model, objective, optimizer, settings)
        trainer.run()
        sync(plan.device)
        return trainer.progress.tokens

    return step


def _uncounted(step: Callable[[], int]) -> None:
    step()


def _ids(model: Model, count: int) -> Any:
    return np.random.default_rng(SEED).integers(0, model.config.vocab_size, count, dtype=np.int64)


def _causal(model: Model, seq: int) -> Any:
    from llmkit.training.objectives.causal import Causal

    return Causal(_ids(model, 64 * seq + 1), seq_len=seq, seed=SEED)


def _masked(model: Model, seq: int, batch: int) -> Any:
    """The masked objective on random tokens, in documents of 8 sentences that fill an example each."""
    from llmkit.training.objectives.hiding import Hiding, MaskTokens
    from llmkit.training.objectives.masked import Masked, Text
    from llmkit.training.objectives.masked_batch import NEXT

    n_sentences, words = 512, max(1, (seq - 3) // 8)  # [CLS] and two [SEP] stand in each example too
    ordinary = np.arange(model.config.vocab_size, dtype=np.int64)
    tokens = MaskTokens(cls=0, sep=0, mask=0, pad=0, ordinary=ordinary)
    text = Text(
        _ids(model, words * n_sentences),
        np.arange(n_sentences + 1, dtype=np.int64) * words,
        np.arange(0, n_sentences + 1, 8, dtype=np.int64),
    )
    has_pairs = model.config.head == "pretraining"
    pairs = NEXT if has_pairs else None
    return Masked(text, Hiding(tokens, 0.15), seq_len=seq, batch_size=batch, seed=SEED, pairs=pairs)
