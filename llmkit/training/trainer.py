"""The training loop, one readable paragraph; everything it asks for comes from an Objective and an Optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from llmkit.errors import Diverged
from llmkit.recipe.schema import TrainSettings
from llmkit.training.device import training_dtype
from llmkit.training.diagnosis import first_bad_gradient, first_bad_output, largest_gradient
from llmkit.training.evaluation import evaluate
from llmkit.training.events import (
    End,
    Evaluation,
    Event,
    Listener,
    Sample,
    Skipped,
    Stage,
    Start,
    Step,
    Warned,
)
from llmkit.training.feed import Feed
from llmkit.training.heap import keep_freed_memory
from llmkit.training.learner import Learner
from llmkit.training.objectives.objective import Batch, Objective, Picks, sum_of
from llmkit.training.optim import Optimizer, clip_gradients
from llmkit.training.parallel.spread import Spread
from llmkit.training.precision import mixed_precision
from llmkit.training.progress import Progress, Window, is_due
from llmkit.training.saving import Commit, Saver
from llmkit.training.schedule import learning_rate
from llmkit.training.seeds import Purpose, seed_torch
from llmkit.training.signals import StopRequest


class Trainer:
    """Trains `model` on `objective` from `progress.step` to `settings.steps`.

    save: called with the progress, writes a checkpoint (raises StorageError or OSError when the disk does not take it).
    better: the validation score that makes a checkpoint the best, and whether larger is better.
    spread: how model and objective are spread over processes; all of them run this loop and take the same decisions.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimizer: Optimizer,
        settings: TrainSettings,
        *,
        progress: Progress | None = None,
        save: Callable[[Progress], Commit] | None = None,
        emit: Listener = lambda event: None,
        stop: StopRequest | None = None,
        better: tuple[str, bool] = ("loss", False),
        spread: Spread | None = None,
    ) -> None:
        self.model, self.objective, self.optimizer, self.settings = model, objective, optimizer, settings
        self.progress = progress or Progress()
        self.emit, self.stop, self.better = emit, stop or StopRequest(), better
        self.spread = spread or Spread(Learner(model, objective))
        self.learner, self.world = self.spread.learner, self.spread.world
        self.parameters = list(self.spread.parameters.values())
        self.device = self.parameters[0].device
        self.dtype = training_dtype(settings.dtype, self.device)
        saved = self.progress.step if progress else -1
        self.saver = Saver(save, emit, saved_step=saved, is_first=self.world.is_first)
        self._window = Window()
        self.feed = Feed(objective, settings, self.world)
        self._asked = 0  # the signal that all processes know of

    def run(self, name: str = "run", model: str = "") -> str:
        """Train until the last step ("finished") or until a signal asks to end ("stopped").

        name, model: what the start event calls the run and what it trains.

        Raises Diverged when a loss or gradient is not finite, and StorageError when the disk takes no checkpoint.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        try:
            with self.world.guard():
                return self._run(name, model)
        finally:
            self.feed.close()

    def _run(self, name: str, model: str) -> str:
        s, p = self.settings, self.progress
        began, norm = time.perf_counter(), 0.0
        self.emit(self._start(name, model))
        self._catch_up()
        self._window.restart(p.tokens)
        while p.step < s.steps and not self._is_asked():
            lr = learning_rate(p.step, s)
            found = self._gradients()
            p.step += 1
            if found is not None:
                parts, norm = found
                self.optimizer.step(lr)
                if spike := p.remember(parts):
                    self.emit(Warned(p.step, spike))
            if p.recent and (p.step % s.log_every == 0 or p.step == s.steps):
                self._log(lr, norm)
            if is_due(p.step, s.eval_every, s.steps):
                self._evaluate()
            if s.sample_every and is_due(p.step, s.sample_every, s.steps):
                self._sample()
            if is_due(p.step, s.save_every, s.steps):
                self._save()
        if self.saver.saved_step != p.step:
            self._save(last=True)
        reason = "finished" if p.step >= s.steps else "stopped"
        self.emit(End(p.step, reason, time.perf_counter() - began, dict(p.scores)))
        return reason

    def _gradients(self) -> tuple[dict[str, float], float] | None:
        """Leave the clipped gradients of one step in the parameters; return the parts of its loss and the norm.

        None for a step to leave out, because a number in it is not finite.
        """
        s, step = self.settings, self.progress.step
        picks, batches = self.feed.picks(step), self.feed.take(step)
        seed_torch(s.seed, Purpose.DROPOUT, step, self.world.rank)
        self.learner.train()
        self._enter(picks[0].stage)
        names = list(batches[0].counts)
        own = [float(sum(b.counts[part] for b in batches)) for part in names]
        *of_parts, n_tokens, n_examples = self.world.sums(
            [*own, sum(b.n_tokens for b in batches), sum(b.n_examples for b in batches)]
        )
        counts = {part: max(1, int(n)) for part, n in zip(names, of_parts, strict=True)}
        sums: dict[str, list[Tensor]] = {part: [] for part in counts}
        self.spread.forget_gradients()
        for number, batch in enumerate(batches, 1):
            with self.spread.micro_batch(is_last=number == len(batches)):
                with self.precision():
                    found = self.spread.loss(batch.to(self.device))
                    total = sum_of([found[part] / counts[part] for part in found])
                total.backward()
            for part in found:
                sums[part].append(found[part].detach())
        self.spread.settle_gradients()
        norm = clip_gradients(self.parameters, s.clip, self.spread.across)
        of_all = self.world.sums([float(sum_of(values)) for values in sums.values()])
        parts = {part: total / counts[part] for part, total in zip(sums, of_all, strict=True)}
        loss = sum(parts.values())
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._leave_out(loss, norm, batches, picks)
            return None
        self.progress.skipped_in_a_row = 0
        self.progress.tokens += int(n_tokens)
        self._window.examples += int(n_examples)
        return parts, norm

    def precision(self) -> AbstractContextManager[None]:
        """Where matrix products happen in bfloat16 if the recipe says so; weights stay float32."""
        return mixed_precision(self.model, self.device, self.dtype)

    def _leave_out(self, loss: float, norm: float, batches: Sequence[Batch], picks: Sequence[Picks]) -> None:
        """Say where a step's first bad number was, and give up before it changes anything, unless it may be skipped."""
        s, step = self.settings, self.progress.step
        bad_gradient = first_bad_gradient(self.spread.parameters)
        seed_torch(s.seed, Purpose.DROPOUT, step, self.world.rank)
        with self.spread.assembled(), self.precision():
            where = first_bad_output(self.learner, [b.to(self.device) for b in batches])
        wheres = self.world.exchange(where or bad_gradient)
        where = next((found for found in wheres if found), None) or largest_gradient(self.spread.parameters)
        what = f"loss became {loss}" if not math.isfinite(loss) else f"gradient norm became {norm} (loss {loss:.4g})"
        p = self.progress
        if s.nonfinite == "skip" and p.skipped_in_a_row < s.max_skips:
            p.skipped, p.skipped_in_a_row = p.skipped + 1, p.skipped_in_a_row + 1
            self.objective.left_out()
            self.emit(Skipped(step, what, where, p.skipped))
            return
        self.emit(End(step, "diverged", 0.0, {"loss": loss}))
        examples = ", ".join(str(int(i)) for p in picks for i in p.index[:4])
        diverged = Diverged(
            f"{what} at step {step + 1}; weights are unchanged since step {step}; first bad value: {where}; "
            f"examples {examples}, ...",
            f"go on with a lower rate: the same command with --set train.lr={s.lr / 4:g} --allow-change train.lr",
        )
        diverged.is_told = not self.world.is_first
        raise diverged

    def _enter(self, stage: int) -> None:
        """Losses of another kind of examples are neither averaged with these nor a spike beside them."""
        p = self.progress
        if stage != p.stage:
            p.stage = stage
            p.recent.clear()
            self.emit(Stage(p.step, stage))

    def _log(self, lr: float, norm: float) -> None:
        p = self.progress
        last = list(p.recent)[-(p.step % self.settings.log_every or self.settings.log_every) :]
        means = {part: sum(parts[part] for parts in last) / len(last) for part in last[-1]}
        seconds, tokens, examples = self._window.lap(p.tokens)
        self.emit(
            Step(
                p.step,
                loss=sum(means.values()),
                parts=means if len(means) > 1 else {},
                lr=lr,
                grad_norm=norm,
                tokens=p.tokens,
                tokens_per_second=tokens / seconds,
                examples_per_second=examples / seconds,
                seconds=self._window.total,
            )
        )

    def _catch_up(self) -> None:
        """Do what was due at the step of the checkpoint but cut short by the signal that caused it."""
        p, s = self.progress, self.settings
        if p.step and is_due(p.step, s.eval_every, s.steps) and p.evaluated != p.step:
            self._evaluate()
        if p.step and s.sample_every and is_due(p.step, s.sample_every, s.steps) and p.sampled != p.step:
            self._sample()

    def _evaluate(self) -> None:
        p = self.progress
        s = self.settings
        with self._window.pause(), self.precision():
            self.learner.eval()
            began = time.perf_counter()
            scores = evaluate(
                self.objective,
                self.model,
                seed=s.seed,
                most=s.eval_batches,
                poll=self._is_cut_short,
                spread=self.spread,
            )
            if scores is None:
                if not self._is_cut_short():
                    p.evaluated = p.step
                return
        name, larger = self.better
        score = scores[name]
        is_better = p.best_score is None or (score > p.best_score if larger else score < p.best_score)
        if is_better:
            p.best_score, p.best_step = score, p.step
        p.evaluated, p.scores = p.step, dict(scores)
        self.emit(Evaluation(p.step, scores, time.perf_counter() - began, is_better))

    def _is_cut_short(self) -> bool:
        """Whether a signal asks to drop what is being done at this step; it is then made up for when the run goes on.

        After the last step all training is done: the last scores are waited for, as nothing could make up for them.
        """
        return self.progress.step < self.settings.steps and self._is_asked()

    def _is_asked(self) -> bool:
        """Whether a signal asked any process to end the run; all call this, and all are told the same."""
        self._asked = self._asked or self.world.largest(self.stop.number or 0)
        if self._asked and not self.stop.requested:
            self.stop.number = self._asked  # it came to another process
        return bool(self._asked)

    def _sample(self) -> None:
        p = self.progress
        if self._is_cut_short():
            return
        with self._window.pause(), torch.no_grad(), self.spread.assembled():
            self.model.eval()
            said = self.objective.sample(self.model, p.step) if self.world.is_first else None
        p.sampled = p.step
        if said is not None:
            self.emit(Sample(p.step, *said))

    def _save(self, last: bool = False) -> None:
        with self._window.pause():
            self.saver.save(self.progress, last=last or self.progress.step >= self.settings.steps)

    def _start(self, name: str, model: str) -> Event:
        s = self.settings
        per_step = s.batch_size * s.accumulate
        return Start(
            self.progress.step,
            run=name,
            steps=s.steps,
            parameters=sum(p.numel() for p in self.model.parameters()),
            examples_per_step=per_step,
            tokens_per_step=per_step * s.seq_len,
            device=str(self.device),
            threads=torch.get_num_threads(),
            processes=self.world.size,
            examples=self.objective.n_examples,
            model=model,
        )
