"""Replaced tokens: tell which words of a text another model has put there (Clark et al. 2020, arXiv:2003.10555).

A small generator fills in masked tokens and learns to do it well, as in masked language modelling. What it would say
stands in the text then, drawn from its probabilities, and the model, the discriminator, says of every token whether
it is the original one. So it learns from all tokens, not from the hidden ones alone. The generator does not learn to
fool it: no gradient passes through what was drawn. Embeddings are shared where both have tables of one width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.models.config import ModelConfig
from llmkit.models.registry import family_of
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse
from llmkit.training.objectives.hiding import Hiding
from llmkit.training.objectives.masked import TOKEN, Masked, staged
from llmkit.training.objectives.masked_batch import MaskedBatch, at_targets, encoded
from llmkit.training.objectives.objective import NO_TARGET, Loss, Measured, Picks, Plain
from llmkit.training.objectives.staged import Staged
from llmkit.training.seeds import Purpose, generators, uniform

if TYPE_CHECKING:
    from llmkit.models.shells import EncoderModel
    from llmkit.tokenization.tokenizer import Tokenizer

GENERATOR, REPLACED = "generator", "replaced"


@dataclass(frozen=True, kw_only=True)
class ReplacedBatch(MaskedBatch):
    """A masked batch, and dice (n,) from [0, 1) that decide what the generator says at each of the positions."""

    dice: Tensor


class ReplacedToken(Plain):
    """ELECTRA's objective on masked examples made by `data`.

    weight: of the discriminator's loss beside the generator's. tokenizer: for samples along the way.
    """

    def __init__(
        self,
        data: Masked | Staged,
        generator: EncoderModel,
        *,
        weight: float,
        seed: int = 0,
        label_smoothing: float = 0.0,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.data, self.partner, self.generator = data, generator, generator
        self.weight, self.seed, self.label_smoothing, self.tokenizer = weight, seed, label_smoothing, tokenizer
        self.n_examples = data.n_examples

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.data.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """See Objective."""
        return self.data.held_out()

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> ReplacedBatch:
        """Masked examples. What will be drawn from the generator is settled here, so it is each example's own."""
        # Of generators of their own, as how much the others have given depends on how wide the batch is padded.
        own = [np.random.Generator(rng.bit_generator.jumped()) for rng in rngs]  # type: ignore[attr-defined]
        batch = self.data.collate(picks, rngs)
        assert isinstance(batch, MaskedBatch)
        dice = uniform(own, batch.input_ids.shape[1]).reshape(-1)[batch.positions.numpy()]
        counts = {GENERATOR: batch.counts[TOKEN], REPLACED: batch.n_tokens}
        same = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return ReplacedBatch(**same | {"counts": counts}, dice=torch.from_numpy(dice).float())

    def loss(self, model: EncoderModel, batch: ReplacedBatch) -> Loss:
        """Cross-entropy of the generator's guesses, and the weighted one of the verdict on each real token."""
        scores = self._guess(batch)
        nats = F.cross_entropy(scores, batch.targets, reduction="sum", label_smoothing=self.label_smoothing)
        seen, is_replaced = replaced(batch, scores)
        verdicts = judged(model, batch, seen)
        return Loss({GENERATOR: nats, REPLACED: self.weight * _doubt(verdicts, is_replaced, batch)}, batch.counts)

    def measure(self, model: EncoderModel, batch: ReplacedBatch) -> Measured:
        """Nats and hits of the generator; nats of the verdicts, and which replaced tokens were found."""
        scores, n = self._guess(batch), batch.counts[GENERATOR]
        seen, is_replaced = replaced(batch, scores)
        verdicts = judged(model, batch, seen)
        says, real = (verdicts > 0) & _real(batch), _real(batch)
        return {
            "generator_loss": (F.cross_entropy(scores, batch.targets, reduction="sum"), n),
            "generator_accuracy": ((scores.argmax(-1) == batch.targets).sum(), n),
            "replaced_loss": (_doubt(verdicts, is_replaced, batch), batch.counts[REPLACED]),
            "replaced_share": ((is_replaced & real).sum(), batch.counts[REPLACED]),
            "found": ((says & is_replaced).sum(), 0),
            "accused": (says.sum(), 0),
            "guilty": ((is_replaced & real).sum(), 0),
        }

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """The loss, how well replaced tokens are told from the others, and how well the generator guesses."""
        found, accused, guilty = (means[name] for name in ("found", "accused", "guilty"))
        return {
            "loss": means["generator_loss"] + self.weight * means["replaced_loss"],
            "replaced_f1": 2 * found / max(1.0, accused + guilty),
            "replaced_precision": found / max(1.0, accused),
            "replaced_recall": found / max(1.0, guilty),
            **{name: means[name] for name in ("replaced_share", "replaced_loss")},
            **{name: means[name] for name in ("generator_accuracy", "generator_loss")},
        }

    def sample(self, model: EncoderModel, step: int) -> tuple[str, str] | None:
        """A text with the generator's words in it, and the words that the model does not believe."""
        batches = self.held_out()
        if self.tokenizer is None or not batches:
            return None
        self.generator.eval()
        picks = batches[step % len(batches)].part(0, 1)
        batch = self.collate(picks, generators(self.seed, Purpose.SAMPLE, picks.draw + step))
        batch = batch.to(next(model.parameters()).device)
        seen, is_replaced = replaced(batch, self._guess(batch))
        says = (judged(model, batch, seen) > 0) & _real(batch)
        truth = batch.originals()[0]
        decode = self.tokenizer.decode

        def named(which: Tensor, *, was: bool) -> str:
            pairs = zip(seen[which].tolist(), truth[which].tolist(), strict=True)
            said = [decode([a]).strip() + (f" (was {decode([b]).strip()})" if was else "") for a, b in pairs]
            return ", ".join(said) or "none"

        found, missed = named(says & is_replaced, was=True), named(~says & is_replaced & _real(batch), was=True)
        told = f"found: {found}; missed: {missed}; wrongly doubted: {named(says & ~is_replaced, was=False)}"
        return decode(seen[0, 1 : batch.lengths()[0] - 1].tolist()), told

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """What the generator sees and must say."""
        note = {
            "then": "the generator's words stand in these places, and the model tells which tokens are not original"
        }
        return [replace(glimpse, notes=note) for glimpse in self.data.preview(picks, rngs)]

    def _guess(self, batch: ReplacedBatch) -> Tensor:
        """Scores (n, vocab) of the generator at the positions."""
        scores: Tensor = self.generator.head(at_targets(encoded(self.generator, batch), batch)).float()
        return scores


@torch.no_grad()
def replaced(batch: ReplacedBatch, scores: Tensor) -> tuple[Tensor, Tensor]:
    """The text with a token drawn from softmax(scores), (n, vocab), in each hidden place, and where it is another one
    than the original; (batch, seq) each."""
    heaps = scores.softmax(-1).cumsum(-1)
    drawn = torch.searchsorted(heaps, batch.dice[:, None] * heaps[:, -1:], right=True)[:, 0]
    truth, real = batch.originals()[0], batch.targets != NO_TARGET
    seen = truth.flatten().clone()
    seen[batch.positions[real]] = drawn.clamp(max=scores.shape[-1] - 1)[real]
    seen = seen.view_as(truth)
    return seen, seen != truth


def judged(model: EncoderModel, batch: ReplacedBatch, seen: Tensor) -> Tensor:
    """(batch, seq) the discriminator's verdicts on a text, above 0 where it takes a token for a replaced one."""
    verdicts: Tensor = model.head(model.encode(seen, batch.attention_mask, batch.token_type_ids))
    return verdicts[..., 0].float()


def _real(batch: ReplacedBatch) -> Tensor:
    """(batch, seq) what is not padding."""
    mask = batch.attention_mask
    return torch.ones_like(batch.input_ids, dtype=torch.bool) if mask is None else mask != 0


def _doubt(verdicts: Tensor, is_replaced: Tensor, batch: ReplacedBatch) -> Tensor:
    """Binary cross-entropy of the verdicts, summed over all tokens that are not padding."""
    nats = F.binary_cross_entropy_with_logits(verdicts, is_replaced.float(), reduction="none")
    return nats.where(_real(batch), 0.0).sum()


def generator_config(c: ModelConfig, size: float) -> ModelConfig:
    """A generator beside a model with config `c`: as deep, `size` as wide, in whole heads as wide as the model's."""
    n_heads = max(1, round(c.n_heads * size))
    width = max(1, c.d_model // c.n_heads) * n_heads
    changes: dict[str, Any] = {"d_ff": max(1, round(c.d_ff * width / c.d_model)), "n_kv_heads": n_heads}
    return replace(c, d_model=width, n_heads=n_heads, head="masked_lm", **changes)


def share_embeddings(generator: EncoderModel, model: EncoderModel) -> None:
    """Give the generator the model's tables, where they have the same width (the paper's section 3.2)."""
    ours, theirs = generator.embeddings, model.embeddings
    if ours.token.weight.shape != theirs.token.weight.shape:
        return
    ours.token, ours.added, ours.norm = theirs.token, theirs.added, theirs.norm
    generator.head.decoder.weight = theirs.token.weight  # type: ignore[union-attr]


def make(given: Given) -> ReplacedToken:
    """The objective as the recipe has it."""
    o, t, model = given.objective, given.train, given.model
    config = generator_config(given.config, o.generator_size)
    generator: Any = family_of(config).build(config)
    if model is not None:
        generator.to(next(model.parameters()).device)
        share_embeddings(generator, model)  # type: ignore[arg-type]
    # The paper hides all chosen tokens: that some stay visible is for models that never see a mask later.
    data = staged(given, Hiding.of(given, always=True))
    return ReplacedToken(
        data,
        generator,
        weight=o.replaced_weight,
        seed=t.seed,
        label_smoothing=o.label_smoothing,
        tokenizer=given.tokenizer,
    )
