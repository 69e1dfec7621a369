"""Validation losses of ours and of transformers after the same examples, from the same first weights.

Both see the same windows of the same text in the same order, with the same schedule. transformers hides tokens with its
own DataCollatorForLanguageModeling and steps with torch.optim.AdamW. The validation loss is over the same held-out
batches with the same tokens hidden, by one function for all.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.rivals.steps import BERT, BETAS, GPT, LR, WEIGHT_DECAY, Case, our_model, transformers_model

VOCAB = 8192
POINTS = 6
# Held-out batches: enough that their mean is steady in the third digit.
BATCHES = 24


@dataclass
class Task:
    """What is learned: an objective of ours over the text, and a tokenizer file for theirs."""

    case: Case
    objective: Any
    settings: Any
    tokenizer: Path

    def batch(self, step: int) -> Any:
        """The examples of a step, tokens hidden in our way."""
        from llmkit.training.seeds import Purpose, generators

        picks = self.objective.picks(step * self.case.batch, self.case.batch)
        return self.objective.collate(picks, generators(self.settings.seed, Purpose.CORRUPTION, picks.draw))


def curves(name: str, texts: Sequence[str], sides: Sequence[str], steps: int, threads: int, seed: int) -> None:
    """Print a line for each side: losses on the way, and the CPU seconds of training."""
    import torch

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as directory:
        task = make_task({"gpt": GPT, "bert": BERT}[name], texts, steps, seed, Path(directory))
        points = sorted({round(steps * (i + 1) / POINTS) for i in range(POINTS)})
        print(f"{task.case}; validation loss after steps {points}, CPU seconds in training")
        for side in sides:
            losses, seconds = train(task, side, points)
            print(f"{side:22s} " + " ".join(f"{loss:.4f}" for loss in losses) + f"   {seconds:.1f} s", flush=True)


def make_task(case: Case, texts: Sequence[str], steps: int, seed: int, directory: Path) -> Task:
    """Learn a tokenizer, cut the text, keep the last twentieth for validation."""
    import numpy as np

    from llmkit.recipe.schema import TrainSettings
    from llmkit.tokenization.train import train as learn
    from llmkit.training.objectives.causal import Causal
    from llmkit.training.objectives.hiding import Hiding, MaskTokens
    from llmkit.training.objectives.masked import Masked
    from llmkit.training.objectives.windows import Text

    lines = [line for path in texts for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    tokenizer = learn(lines, algorithm="bpe" if case is GPT else "wordpiece", vocab_size=VOCAB)
    tokenizer.save(directory)
    case = replace(case, vocab=tokenizer.vocab_size)
    settings = TrainSettings(
        steps=steps, batch_size=case.batch, seq_len=case.seq, lr=2 * LR, warmup_steps=steps // 10, seed=seed,
        weight_decay=WEIGHT_DECAY, beta1=BETAS[0], beta2=BETAS[1],
    )  # fmt: skip
    coded = [np.array(ids, dtype=np.uint16) for ids in tokenizer.encode_batch(lines)]
    cut = len(coded) * 19 // 20
    parts = []
    for some in (coded[:cut], coded[cut:]):
        bounds = np.cumsum([0, *(len(ids) for ids in some)])
        parts.append(Text(np.concatenate(some), bounds, np.array([0, len(some)])))
    shape: dict[str, Any] = {"seq_len": case.seq, "seed": seed}
    if case.name == "gpt":
        objective: Any = Causal(parts[0].ids, validation=parts[1].ids, **shape)
        return Task(case, objective, settings, directory)
    ordinary = np.array(sorted(set(range(tokenizer.vocab_size)) - tokenizer.special_ids), dtype=np.int64)
    ids = [tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id]
    hiding = Hiding(MaskTokens(*ids, ordinary), 0.15)
    objective = Masked(parts[0], hiding, batch_size=case.batch, pairs=None, validation=parts[1], **shape)
    return Task(case, objective, settings, directory)


def train(task: Task, side: str, points: Sequence[int]) -> tuple[list[float], float]:
    """Losses at `points`, and the CPU seconds of all steps."""
    import torch

    from llmkit.training.schedule import learning_rate

    who, dtype = side.split()
    torch.manual_seed(task.settings.seed)
    theirs = transformers_model(task.case)
    model, step = (_ours if who == "llmkit" else _theirs)(task, theirs, dtype)
    torch.manual_seed(task.settings.seed)
    losses, seconds = [], 0.0
    for number in range(task.settings.steps):
        batch = task.batch(number)
        began = time.process_time()
        step(batch, learning_rate(number, task.settings))
        seconds += time.process_time() - began
        if number + 1 in points:
            losses.append(validation_loss(task, model))
    return losses, seconds


def validation_loss(task: Task, logits: Callable[[Any], Any]) -> float:
    """Nats per token due, in float32."""
    import torch
    import torch.nn.functional as F

    from llmkit.training.objectives.objective import evenly_spaced
    from llmkit.training.seeds import Purpose, generators

    nats, count = 0.0, 0
    with torch.no_grad():
        for picks in evenly_spaced(task.objective.held_out(), BATCHES):
            batch = task.objective.collate(picks, generators(task.settings.seed, Purpose.VALIDATION, picks.draw))
            scores = logits(batch).flatten(0, 1)
            scores = scores if task.case.name == "gpt" else scores[batch.positions]
            nats += float(F.cross_entropy(scores.float(), batch.targets.flatten(), reduction="sum"))
            count += next(iter(batch.counts.values()))
    return nats / count


def _ours(task: Task, theirs: Any, dtype: str) -> tuple[Any, Any]:
    """Our model with their first weights, and a step of our training loop."""
    import torch

    from llmkit.models.registry import load_family
    from llmkit.training.learner import Learner
    from llmkit.training.optim import clip_gradients, make_optimizer
    from llmkit.training.precision import mixed_precision
    from llmkit.weights.convert import load_into

    model = our_model(task.case)
    rules = load_family("gpt2" if task.case.name == "gpt" else "bert").weight_rules(model.config)
    load_into(model, rules, first_weights(theirs))
    learner = Learner(model, task.objective)
    optimizer, parameters = make_optimizer(learner, task.settings), list(model.parameters())

    def step(batch: Any, lr: float) -> None:
        for parameter in parameters:
            parameter.grad = None
        with mixed_precision(model, torch.device("cpu"), getattr(torch, dtype)):
            ((nats, count),) = [(nats, batch.counts[part]) for part, nats in learner(batch).items()]
        (nats / count).backward()
        clip_gradients(parameters, 1.0)
        optimizer.step(lr)

    return lambda batch: model(batch.input_ids, getattr(batch, "attention_mask", None)).logits, step


def first_weights(model: Any) -> dict[str, Any]:
    """The tensors that transformers would save: tied weights once."""
    import torch

    tied = set(getattr(model, "_tied_weights_keys", None) or ())
    names = [n for n, _ in model.named_parameters()]
    return {n: t.clone() for n, t in model.state_dict().items() if n in names and n not in tied and torch.is_tensor(t)}


def _theirs(task: Task, model: Any, dtype: str) -> tuple[Any, Any]:
    """Their model, collator and optimizer."""
    import torch
    import torch.nn.functional as F
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(task.tokenizer)
    is_masked = task.case.name == "bert"
    collator = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=is_masked, mlm_probability=0.15)
    # Norms and biases without decay, as their Trainer has it.
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, fused=True)

    def loss(batch: Any) -> Any:
        if not is_masked:
            return F.cross_entropy(model(batch.input_ids).logits.flatten(0, 1), batch.targets.flatten())
        originals, _ = batch.originals()
        rows = [{"input_ids": row[:n]} for row, n in zip(originals, batch.lengths(), strict=True)]
        return model(**collator(rows)).loss

    def step(batch: Any, lr: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            nats = loss(batch)
        nats.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return lambda batch: model(batch.input_ids, attention_mask=getattr(batch, "attention_mask", None)).logits, step
