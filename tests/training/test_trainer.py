import copy
import dataclasses
import signal

import numpy as np
import pytest
import torch

from llmkit.errors import Diverged, StorageError
from llmkit.training.events import Evaluation, Saved, Skipped, Stage, Step, Warned
from llmkit.training.learner import Learner
from llmkit.training.objectives.objective import NO_TARGET
from llmkit.training.objectives.staged import Staged
from llmkit.training.optim import make_optimizer
from llmkit.training.progress import Progress
from llmkit.training.saving import Commit
from llmkit.training.signals import StopRequest
from llmkit.training.trainer import Trainer


class Memory:
    """Checkpoints in memory, through JSON-like values as on disk."""

    def __init__(self, model, optimizer):
        self.model, self.optimizer, self.saved = model, optimizer, {}

    def __call__(self, progress):
        self.saved[progress.step] = (
            {n: p.detach().clone() for n, p in self.model.named_parameters()},
            {n: t.clone() for n, t in self.optimizer.state().items()},
            copy.deepcopy(progress.to_values()),
        )
        return Commit(f"step-{progress.step}", 1)


def trainer(model, objective, settings, *, start=None, stop=None, save=None):
    optimizer = make_optimizer(Learner(model, objective), settings)
    progress = Progress()
    if start is not None:
        weights, state, values = start
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(weights[name])
            for name, t in optimizer.state().items():
                t.copy_(state[name])
        progress = Progress.from_values(copy.deepcopy(values))
    events = []
    made = Trainer(
        model, objective, optimizer, settings, progress=progress, emit=events.append, stop=stop,
        save=save or Memory(model, optimizer),
    )  # fmt: skip
    return made, events


def losses(events):
    return {e.step: (e.loss.hex(), e.grad_norm.hex(), e.lr) for e in events if isinstance(e, Step)}


def scores(events):
    return {e.step: dict(e.scores) for e in events if isinstance(e, Evaluation)}


@pytest.mark.parametrize("kind", ["causal", "masked"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resuming_at_any_checkpoint_equals_never_stopping(kind, optimizer, tiny_model, settings, causal, masked):
    s = settings(optimizer=optimizer, save_every=1)
    objective = causal if kind == "causal" else masked()
    whole, events = trainer(tiny_model(), objective, s)
    whole.run()
    for step in (1, 4, 7, 11):
        resumed, again = trainer(tiny_model(seed=9), objective, s, start=whole.saver.write.saved[step])
        resumed.run()
        for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
            assert torch.equal(a, b)
        assert whole.saver.write.saved[12][2] == resumed.saver.write.saved[12][2]
        assert losses(again) == {k: v for k, v in losses(events).items() if k > step}
        assert scores(again) == {k: v for k, v in scores(events).items() if k > step}


def test_training_learns(tiny_model, settings, causal):
    # A stream that repeats 0 1 2 3 ... can be predicted perfectly.
    from llmkit.training.objectives.causal import Causal

    counting = np.tile(np.arange(50), 20)
    made, events = trainer(tiny_model(), Causal(counting, seq_len=8, seed=0), settings(steps=150, save_every=0))
    made.run()
    first, *_, last = [e.loss for e in events if isinstance(e, Step)]
    assert last < 0.5 < 2 < first


def test_a_log_line_gives_the_mean_since_the_one_before_of_the_loss_and_of_its_parts(tiny_model, settings, masked):
    each, every_fourth = (trainer(tiny_model(), masked(), settings(log_every=every)) for every in (1, 4))
    for made, _ in (each, every_fourth):
        made.run()
    steps = [e for e in each[1] if isinstance(e, Step)]
    for n, line in enumerate(e for e in every_fourth[1] if isinstance(e, Step)):
        four = steps[4 * n : 4 * n + 4]
        assert line.loss == pytest.approx(sum(e.loss for e in four) / 4)
        assert line.parts == pytest.approx({part: sum(e.parts[part] for e in four) / 4 for part in line.parts})
        assert line.loss == pytest.approx(sum(line.parts.values()))


def halves(batch):
    """The same masked batch as two, of rows 0-3 and 4-7."""
    width = batch.input_ids.shape[1]
    for rows in (slice(0, 4), slice(4, 8)):
        here = (batch.positions // width >= rows.start) & (batch.positions // width < rows.stop)
        yield dataclasses.replace(
            batch,
            counts={"masked": int((batch.targets[here] != NO_TARGET).sum()), "next_sentence": 4},
            input_ids=batch.input_ids[rows],
            attention_mask=batch.attention_mask[rows],
            token_type_ids=batch.token_type_ids[rows],
            positions=batch.positions[here] - rows.start * width,
            targets=batch.targets[here],
            pair_labels=batch.pair_labels[rows],
        )


def test_micro_batches_of_unequal_counts_add_up_to_the_gradient_of_one_batch(tiny_model, settings, masked):
    objective = masked(batch_size=8)
    rngs = [np.random.default_rng(i) for i in range(8)]
    wholes = (objective.collate(objective.picks(first, 8), rngs) for first in range(0, 800, 8))
    divided = ((whole, list(halves(whole))) for whole in wholes)
    whole, parts = next((w, p) for w, p in divided if p[0].counts["masked"] != p[1].counts["masked"])
    gradients = []
    for batches in ([whole], parts):
        made, _ = trainer(tiny_model(), objective, settings(batch_size=8, accumulate=len(batches), clip=0.0))
        made.model.dropout.p = 0.0
        made.feed.make = lambda step, ready=batches: ready
        losses, norm = made._gradients()
        gradients.append((losses, norm, [p.grad for p in made.parameters]))
    (losses, norm, together), (losses2, norm2, apart) = gradients
    assert losses == pytest.approx(losses2)
    assert norm == pytest.approx(norm2)
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("step", [1, 7])
def test_a_bad_number_stops_the_run_before_it_changes_anything(step, tiny_model, settings, causal):
    made, _ = trainer(tiny_model(), causal, settings(save_every=1))
    before = {}

    class Poisoned(torch.nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            if self.training and made.progress.step == step - 1:
                before.update({n: p.detach().clone() for n, p in made.model.named_parameters()})
                y = y * float("nan")
            return y

    made.model.up.__class__ = Poisoned
    with pytest.raises(Diverged, match=rf"at step {step};.*first bad value: up output") as caught:
        made.run()
    assert caught.value.exit_code == 5
    assert all(torch.equal(before[n], p) for n, p in made.model.named_parameters())
    assert max(made.saver.write.saved, default=0) == step - 1


def test_gradients_too_large_to_be_squared_are_told_by_the_largest(tiny_model, settings, causal):
    made, _ = trainer(tiny_model(), causal, settings())
    made.model.up.weight.register_hook(lambda gradient: torch.full_like(gradient, 1e25))
    with pytest.raises(
        Diverged, match=r"first bad value: none, but the gradient of up\.weight is as large as 2\.0e\+25"
    ):
        made.run()


class Bad(torch.nn.Linear):
    """Gives NaN in training at the steps in `at`, counted from 0 by `now`."""

    def forward(self, x):
        y = super().forward(x)
        return y * float("nan") if self.training and self.now() in self.at else y


def with_bad_steps(made, at):
    made.model.up.__class__ = Bad
    made.model.up.at, made.model.up.now = at, lambda: made.progress.step


def test_a_skipped_step_changes_nothing_but_the_count_and_the_run_goes_on(tiny_model, settings, causal):
    made, events = trainer(tiny_model(), causal, settings(save_every=1, nonfinite="skip", max_skips=2))
    with_bad_steps(made, {0, 1, 5, 8})
    assert made.run() == "finished"
    skipped = [e for e in events if isinstance(e, Skipped)]
    assert [e.step for e in skipped] == [0, 1, 5, 8]
    assert skipped[2].where == "up output"
    assert made.progress.skipped == 4
    before, after = made.saver.write.saved[5], made.saver.write.saved[6]
    assert all(torch.equal(before[0][n], after[0][n]) for n in before[0])
    assert all(torch.equal(before[1][n], after[1][n]) for n in before[1])
    assert any(not torch.equal(made.saver.write.saved[6][0][n], made.saver.write.saved[7][0][n]) for n in before[0])


def test_more_skips_in_a_row_than_allowed_stop_the_run_and_resuming_counts_on(tiny_model, settings, causal):
    s = settings(save_every=1, nonfinite="skip", max_skips=2)
    made, _ = trainer(tiny_model(), causal, s)
    with_bad_steps(made, {4, 5, 6})
    with pytest.raises(Diverged, match="at step 7"):
        made.run()
    again, _ = trainer(tiny_model(), causal, s, start=made.saver.write.saved[5])
    with_bad_steps(again, {5, 6})
    with pytest.raises(Diverged, match="at step 7"):
        again.run()


def test_a_bad_gradient_alone_stops_the_run_too(tiny_model, settings, causal):
    made, _ = trainer(tiny_model(), causal, settings())
    made.model.down.weight.register_hook(lambda g: g * float("inf"))
    with pytest.raises(Diverged, match=r"gradient norm became .* gradient of down.weight"):
        made.run()
    assert made.progress.step == 0


@pytest.mark.parametrize("when", ["step", "evaluation"])
def test_a_signal_ends_the_run_at_a_step_with_everything_saved_and_resuming_is_exact(
    when, tiny_model, settings, causal
):
    s = settings(save_every=0)
    whole, expected = trainer(tiny_model(), causal, s)
    whole.run()

    stop = StopRequest()
    made, events = trainer(tiny_model(), causal, s, stop=stop)
    if when == "step":
        made.emit = lambda e: (events.append(e), setattr(stop, "number", signal.SIGTERM) if e.step == 6 else None)
    else:
        real = causal.held_out

        def batches():
            if stop.number is None and made.progress.step == 4:
                stop.number = signal.SIGTERM
            return real()

        causal.held_out = batches
    assert made.run() == "stopped"
    step = made.progress.step
    assert step == (6 if when == "step" else 4)
    assert set(made.saver.write.saved) == {step}
    resumed, again = trainer(tiny_model(seed=8), causal, s, start=made.saver.write.saved[step])
    assert resumed.run() == "finished"
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert scores(events) | scores(again) == scores(expected)


def test_a_full_disk_is_survived_until_the_third_time_in_a_row(tiny_model, settings, causal):
    failures = {2: True, 4: True, 6: False, 8: True, 10: True, 12: True}
    attempts = []

    def save(progress):
        attempts.append(progress.step)
        if failures[progress.step]:
            raise OSError(28, "No space left on device")
        return Commit("x", 1)

    made, events = trainer(tiny_model(), causal, settings(save_every=2), save=save)
    with pytest.raises(StorageError, match=r"step 12 .*No space left") as caught:
        made.run()
    assert caught.value.exit_code == 74
    assert attempts == [2, 4, 6, 8, 10, 12]
    assert [e.step for e in events if isinstance(e, Saved)] == [6]
    assert len([e for e in events if isinstance(e, Warned)]) == 4
    assert "goes on from step 6" in caught.value.hint


def test_a_run_that_could_save_nothing_is_not_said_to_go_on(tiny_model, settings, causal):
    def save(progress):
        raise OSError(28, "No space left on device")

    made, _ = trainer(tiny_model(), causal, settings(save_every=0), save=save)
    with pytest.raises(StorageError) as caught:
        made.run()
    assert "goes on" not in caught.value.hint
    assert "starts anew" in caught.value.hint


def test_a_change_of_stage_is_told_and_its_losses_are_no_spike(tiny_model, settings, masked):
    short, long = masked(seq_len=12, batch_size=4), masked(seq_len=48, batch_size=1)
    s = settings(steps=70, log_every=4, accumulate=1, lr=1e-9)
    staged = Staged(short, long, switch=66 * 4, batch_size=4, later_batch_size=1)
    usual = staged.loss

    def loss(model, batch):  # ten times the loss from step 67 on
        found = usual(model, batch)
        return (
            found
            if made.progress.step < 66
            else dataclasses.replace(found, sums={k: v * 10 for k, v in found.sums.items()})
        )

    staged.loss = loss
    made, events = trainer(tiny_model(causal=False), staged, s)
    made.run()
    assert [(e.step, e.stage) for e in events if isinstance(e, Stage)] == [(66, 1)]
    assert not [e for e in events if isinstance(e, Warned)]
    *_, before, after, _ = [e.loss for e in events if isinstance(e, Step)]
    assert after > 4 * before, "two steps of each stage: the mean is of the new ones alone"


def test_a_loss_spike_is_told():
    progress = Progress()
    assert not any(progress.remember({"masked": 2.0 + 0.01 * torch.rand(()).item()}) for _ in range(70))
    assert "spike: 4, the recent median is 2.0" in (progress.remember({"masked": 3.0, "next_sentence": 1.0}) or "")


def test_logged_losses_are_means_since_the_last_line(tiny_model, settings, causal):
    one, every = trainer(tiny_model(), causal, settings(log_every=1))
    three, some = trainer(tiny_model(), causal, settings(log_every=3))
    one.run()
    three.run()
    singles = [e.loss for e in every if isinstance(e, Step)]
    means = [e.loss for e in some if isinstance(e, Step)]
    assert means == pytest.approx([sum(singles[i : i + 3]) / 3 for i in range(0, 12, 3)])
