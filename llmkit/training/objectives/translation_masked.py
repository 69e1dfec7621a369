"""Translation language modelling: fill in masks of a text and its translation (Lample and Conneau 2019, 1901.07291).

An example is `[CLS] text [SEP] translation [SEP]`. Tokens are hidden on both sides; to guess one, the model may look
at the other side for the word it translates, so that words of both languages come to lie side by side. Positions
start anew with the translation, and every token is told its language: by XLM's language vectors, elsewhere by segment
ids where there are two. A share of the examples may be one side alone; of half of these the language is not told, as
who asks later may not say it either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from llmkit.data.corpus import TokenCorpus
from llmkit.training.objectives.frames import Ids, framed
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse
from llmkit.training.objectives.hiding import Hiding, rounded
from llmkit.training.objectives.masked import TOKEN
from llmkit.training.objectives.masked_batch import at_targets, glimpses, guesses
from llmkit.training.objectives.objective import NO_TARGET, Loss, Measured, Picks, Plain, by_length
from llmkit.training.objectives.token_loss import token_nats
from llmkit.training.objectives.two_sides import TranslatedBatch, TwoSides, one_side, places
from llmkit.training.order import BucketedOrder
from llmkit.training.seeds import Purpose, generators

if TYPE_CHECKING:
    from llmkit.tokenization.tokenizer import Tokenizer


class TranslationMasked(Plain):
    """Masks in pairs. monolingual: share of the examples that are one side alone.

    has_languages: the model takes language ids; n_segments: kinds of segments it knows.
    """

    def __init__(
        self,
        text: TokenCorpus,
        hiding: Hiding,
        *,
        seq_len: int,
        batch_size: int,
        seed: int,
        end: int | None = None,
        monolingual: float = 0.0,
        static_masks: int = 0,
        label_smoothing: float = 0.0,
        has_languages: bool = True,
        n_segments: int = 2,
        validation: TokenCorpus | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.hiding, self.seq_len, self.batch_size, self.seed = hiding, seq_len, batch_size, seed
        self.monolingual, self.static_masks, self.label_smoothing = monolingual, static_masks, label_smoothing
        self.has_languages, self.n_segments, self.tokenizer = has_languages, n_segments, tokenizer
        room = max(2, seq_len - 3)
        self.train = TwoSides(text, room, end)
        self.validation = None if validation is None else TwoSides(validation, room, end)
        self.order = BucketedOrder(self.train.lengths, seed, batch_size)
        self.n_examples = len(self.train.lengths)

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        picks, n = self.order.picks(first, count), self.static_masks
        return replace(picks, draw=picks.index * n + picks.epoch % n) if n else picks

    def held_out(self) -> Sequence[Picks]:
        """Validation pairs of similar length side by side."""
        return by_length(self.validation.lengths, self.batch_size) if self.validation is not None else []

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> TranslatedBatch:
        """Pairs, or sides of pairs, with their masks; held-out ones are pairs all."""
        texts = self.validation if picks.held_out else self.train
        assert texts is not None
        rows: list[tuple[Ids, Ids | None]] = []
        language = np.zeros(len(picks.index), dtype=np.int64)
        is_told = np.ones(len(picks.index), dtype=np.bool_)
        for row, (i, rng) in enumerate(zip(picks.index, rngs, strict=True)):
            pair, (alone, side, secret) = texts[int(i)], rng.random(3)
            if picks.held_out or alone >= self.monolingual:
                rows.append(pair)
            else:
                language[row], is_told[row] = side < 0.5, secret < 0.5
                rows.append((pair[language[row]], None))
        frames = framed(rows, self.hiding.tokens, self.seq_len)
        positions, targets = self.hiding(frames.ids, frames.is_text(self.hiding.tokens), rngs)
        counts = {TOKEN: len(targets)}
        positions, targets = rounded(positions, targets)
        languages = np.maximum(frames.segments, language[:, None])
        told = np.where(is_told[:, None], languages, -1)
        return TranslatedBatch(
            counts=counts,
            n_examples=len(rows),
            n_tokens=int(frames.lengths.sum()),
            input_ids=torch.from_numpy(frames.ids),
            attention_mask=frames.attention_mask(),
            token_type_ids=torch.from_numpy(told.clip(0, self.n_segments - 1)),
            positions=torch.from_numpy(positions),
            targets=torch.from_numpy(targets),
            position_ids=torch.from_numpy(places(frames.segments)),
            languages=torch.from_numpy(languages),
            told=torch.from_numpy(told),
        )

    def loss(self, model: Any, batch: TranslatedBatch) -> Loss:
        """Cross-entropy at the masked positions of both sides."""
        rows = at_targets(self._encode(model, batch, batch.attention_mask), batch)
        nats = token_nats(model.head, rows, batch.targets, label_smoothing=self.label_smoothing)
        return Loss({TOKEN: nats}, batch.counts)

    def measure(self, model: Any, batch: TranslatedBatch) -> Measured:
        """Nats and hits at the same masks with the translation in sight, and with the other side hidden."""
        n = batch.counts[TOKEN]
        nats, hits = guesses(model, at_targets(self._encode(model, batch, batch.attention_mask), batch), batch.targets)
        found = {"masked_loss": (nats, n), "masked_accuracy": (hits, n)}
        side = batch.languages.flatten()[batch.positions]
        for language in (0, 1):
            rows = at_targets(self._encode(model, batch, one_side(batch, language)), batch)
            targets = batch.targets.where(side == language, NO_TARGET)
            nats, hits = guesses(model, rows, targets)
            for name, value in (("alone_loss", nats), ("alone_accuracy", hits)):
                before = found[name][0] if name in found else 0.0
                found[name] = value + before, n
        return found

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """The loss, how much is right with the translation in sight, how much without, and the difference."""
        mean, seen, alone = (means[name] for name in ("masked_loss", "masked_accuracy", "alone_accuracy"))
        scores = {"loss": mean, "masked_accuracy": seen, "alone_accuracy": alone, "gain": seen - alone}
        return scores | {"alone_loss": means["alone_loss"], "perplexity": math.exp(min(mean, 700.0))}

    def sample(self, model: Any, step: int) -> tuple[str, str] | None:
        """A hidden word of a pair: what the model puts there, and what it would put without the other side."""
        batches = self.held_out()
        if self.tokenizer is None or not batches:
            return None
        picks = batches[step % len(batches)].part(0, 1)
        batch = self.collate(picks, generators(self.seed, Purpose.SAMPLE, picks.draw + step))
        batch = self._one_hole(batch, step).to(next(model.parameters()).device)
        language = int(batch.languages.flatten()[batch.positions[0]])
        decode, told = self.tokenizer.decode, []
        for mask in (batch.attention_mask, one_side(batch, language)):
            row = at_targets(self._encode(model, batch, mask), batch)[0]
            best = model.head(row).float().softmax(-1).topk(2)
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            told.append(", ".join(f"{decode([i]).strip()} {100 * p:.0f}%" for i, p in pairs))
        ids = batch.input_ids[0, 1 : batch.lengths()[0] - 1].tolist()
        cut = ids.index(self.hiding.tokens.sep)
        mask_token = self.tokenizer.token(self.hiding.tokens.mask)
        shown = [
            _spelled(self.tokenizer, side, self.hiding.tokens.mask, mask_token) for side in (ids[:cut], ids[cut + 1 :])
        ]
        truth = decode([int(batch.targets[0])]).strip()
        return " | ".join(shown), f"{told[0]}; alone: {told[1]} (it was: {truth})"

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """Both texts, and what the model sees of them."""
        batch = self.collate(picks, rngs)
        found = []
        for row, glimpse in enumerate(glimpses(batch, self.hiding)):
            languages = sorted(set(batch.languages[row, : batch.lengths()[row]].tolist()))
            said = {(0, 1): "both", (0,): "the first", (1,): "the second"}[tuple(languages)]
            secret = "" if (batch.told[row] >= 0).all() else ", which is not told"
            found.append(replace(glimpse, notes={"languages": said + secret}))
        return found

    def _encode(self, model: Any, batch: TranslatedBatch, mask: Tensor | None) -> Tensor:
        """Hidden states (batch, seq, d_model) of what `mask` lets see."""
        told: dict[str, Any] = {"position_ids": batch.position_ids}
        if self.has_languages:
            told["langs"] = batch.told
        hidden: Tensor = model.encode(batch.input_ids, mask, batch.token_type_ids, **told)
        return hidden

    def _one_hole(self, batch: TranslatedBatch, step: int) -> TranslatedBatch:
        """A batch of one example in which but one of its masks is left."""
        n = batch.counts[TOKEN]
        ids = batch.originals()[0]
        at = step % n
        position, target = batch.positions[at : at + 1], batch.targets[at : at + 1]
        ids.view(-1)[position] = self.hiding.tokens.mask
        same = {f.name: getattr(batch, f.name) for f in fields(batch)}
        return TranslatedBatch(**same | {"input_ids": ids, "positions": position, "targets": target})


def _spelled(tokenizer: Tokenizer, ids: list[int], mask_id: int, mask: str) -> str:
    """Text with a mask as it is written."""
    if mask_id not in ids:
        return tokenizer.decode(ids).strip()
    at = ids.index(mask_id)
    return f"{tokenizer.decode(ids[:at])} {mask} {tokenizer.decode(ids[at + 1 :])}".strip()


def make(given: Given) -> TranslationMasked:
    """The objective as the recipe has it."""
    o, t, c = given.objective, given.train, given.config
    return TranslationMasked(
        given.text,
        Hiding.of(given),
        seq_len=t.seq_len,
        batch_size=t.batch_size,
        seed=t.seed,
        end=given.words.eos,
        monolingual=o.monolingual,
        static_masks=o.static_masks,
        label_smoothing=o.label_smoothing,
        has_languages=hasattr(c, "n_languages"),
        n_segments=getattr(c, "n_segments", 1),
        validation=given.validation,
        tokenizer=given.tokenizer,
    )
