"""Causal language modelling with a memory of the segments before (Transformer-XL, Dai et al. 2019, arXiv:1901.02860).

The stream is cut into as many tracks as a step has examples. A step reads one segment of each, the next step the next,
so that what each layer saw of a track is there when the track goes on. At the end of an epoch the tracks are cut anew,
elsewhere, and memories are empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmkit.data.order import mixed
from llmkit.errors import InputRefused
from llmkit.training.objectives.causal import EVAL_TOKENS, PART, Causal, CausalBatch, stream_options
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse, Mark, lane
from llmkit.training.objectives.objective import Loss, Measured, Picks, held_out, is_cut
from llmkit.training.objectives.token_loss import token_nats
from llmkit.training.seeds import Purpose

if TYPE_CHECKING:
    from llmkit.models.relative_shells import RecurrentDecoder
    from llmkit.nn.memory import SegmentMemory

# Segments of the validation text that are read in a row; the memory is empty before the first.
EVAL_SEGMENTS = 16


@dataclass(frozen=True, kw_only=True)
class RecurrentBatch(CausalBatch):
    """Segments (batch, seq), of held-out text several in a row. micro: which of a step's batches it is, each has
    tracks of its own; begins: nothing comes before these segments."""

    micro: int
    begins: bool


class Recurrent(Causal):
    """Consecutive segments of parallel tracks: `accumulate` times `batch_size` of them.

    Raises InputRefused for a text with less than one segment for each track.
    """

    def __init__(
        self, ids: NDArray[np.integer], *, seq_len: int, seed: int, batch_size: int, accumulate: int = 1, **more: Any
    ) -> None:
        super().__init__(ids, seq_len=seq_len, seed=seed, **more)
        self.batch_size, self.n_tracks = batch_size, batch_size * accumulate
        self.n_segments, self.slack = divmod(len(ids) - 1, self.n_tracks * seq_len)
        if not self.n_segments:
            raise InputRefused(
                f"the training text has {len(ids):,} tokens, too few for {self.n_tracks} tracks of {seq_len}",
                "use more text, or a smaller train.batch_size or train.seq_len",
            )
        if self.n_segments > 1 and self.slack < seq_len:
            # Room for tracks to begin elsewhere in every epoch.
            self.n_segments, self.slack = self.n_segments - 1, self.slack + self.n_tracks * seq_len
        self.n_examples = self.n_segments * self.n_tracks
        self._memories: dict[int, SegmentMemory] = {}
        self._stored: dict[int, list[Tensor]] = {}

    def picks(self, first: int, count: int) -> Picks:
        """See Objective: segment s of track t has index s * n_tracks + t."""
        position = np.arange(first, first + count, dtype=np.int64)
        return Picks(position // self.n_examples, position % self.n_examples, position)

    def held_out(self) -> Sequence[Picks]:
        """The validation text in spans of several segments, side by side; the last may be shorter."""
        n, span = 0 if self.validation is None else len(self.validation) - 1, EVAL_SEGMENTS * self.seq_len
        whole, rest = divmod(max(0, n), span)
        rows = max(1, EVAL_TOKENS // span)
        batches = [held_out(np.arange(i, min(i + rows, whole))) for i in range(0, whole, rows)]
        return batches + ([held_out(np.array([whole]))] if rest else [])

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> RecurrentBatch:
        """Segments as (batch, seq) inputs and targets; nothing here is random."""
        segment, track = np.divmod(picks.index, self.n_tracks)
        if picks.held_out:
            assert self.validation is not None
            width = EVAL_SEGMENTS * self.seq_len
            ids, starts = self.validation, picks.index * width
        else:
            width = self.seq_len
            ids, starts = self.ids, (track * self.n_segments + segment) * width + self._offset(int(picks.epoch[0]))
        tokens = torch.from_numpy(np.stack([ids[s : s + width + 1] for s in starts]).astype(np.int64))
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        n = targets.numel()
        return RecurrentBatch(
            counts={PART: n},
            n_examples=len(tokens),
            n_tokens=n,
            input_ids=inputs,
            targets=targets,
            micro=int(track[0]) // self.batch_size,
            begins=picks.held_out or int(segment[0]) == 0,
        )

    def _offset(self, epoch: int) -> int:
        return mixed(self.seed, Purpose.OFFSET, epoch) % (self.slack + 1)

    def loss(self, model: RecurrentDecoder, batch: RecurrentBatch) -> Loss:  # type: ignore[override]
        """Cross-entropy of every next token, in nats, with the memory of the step before; the memory moves on."""
        hidden = model.encode(batch.input_ids, cache=self._memory(model, batch)).flatten(0, 1)
        nats = token_nats(model.head, hidden, batch.targets.flatten(), label_smoothing=self.label_smoothing)
        return Loss({PART: nats}, batch.counts)

    def _memory(self, model: RecurrentDecoder, batch: RecurrentBatch) -> SegmentMemory:
        stored = self._stored.pop(batch.micro, None)
        if batch.begins or batch.micro not in self._memories:
            self._memories[batch.micro] = model.new_memory()
        memory = self._memories[batch.micro]
        if stored is not None and not batch.begins and len(stored[0]) == len(batch.input_ids):
            memory.take_back([states.to(batch.input_ids.device) for states in stored])
        return memory

    def measure(self, model: RecurrentDecoder, batch: RecurrentBatch) -> Measured:  # type: ignore[override]
        """Nats of every token, with the memory carried along the text and without it."""
        memory, found = model.new_memory(), []
        segments = batch.input_ids.split(self.seq_len, 1)
        for ids, targets in zip(segments, batch.targets.split(self.seq_len, 1), strict=True):
            for cache in (memory, None):
                hidden = model.encode(ids, cache=cache).flatten(0, 1)
                found.append(token_nats(model.head, hidden, targets.flatten()))
        if is_cut(model):
            # The last batch may be shorter, and still takes as many passes as those of the other processes.
            for _ in range(2 * (EVAL_SEGMENTS - len(segments))):
                model.encode(batch.input_ids[:, :1])
        n = batch.counts[PART]
        return {
            "loss": (torch.stack(found[::2]).sum(), n),
            "loss_without_memory": (torch.stack(found[1::2]).sum(), n),
        }

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """Nats per token, perplexity and bits per byte; what the same costs without memory."""
        return {**super().scores(means), "loss_without_memory": means["loss_without_memory"]}

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The segment, and the same one token later."""
        batch = self.collate(picks, rngs)
        note = "nothing" if batch.begins else "the segments before this one"
        return [
            Glimpse([lane("input", i), lane("target", t, Mark.TARGET)], {"remembered": note})
            for i, t in zip(batch.input_ids.tolist(), batch.targets.tolist(), strict=True)
        ]

    def state(self) -> dict[str, Tensor]:
        """What each layer remembers of each track, by micro-batch and layer."""
        kept = dict(self._stored)
        for micro, memory in self._memories.items():
            states = [memory.states(layer) for layer in range(memory.n_layers)]
            kept[micro] = [s for s in states if s is not None]
        return {f"{micro}.{layer}": states for micro, of in kept.items() for layer, states in enumerate(of)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        self._memories.clear()
        self._stored.clear()
        # By number: as words, layer 10 comes before layer 2.
        for micro, layer in sorted(tuple(map(int, name.split("."))) for name in tensors):
            self._stored.setdefault(micro, []).append(tensors[f"{micro}.{layer}"])

    def left_out(self) -> None:
        """See Objective: what is not finite would go on from layer to layer, so all tracks begin with nothing again."""
        self._memories.clear()
        self._stored.clear()


def make(given: Given) -> Recurrent:
    """The objective as the recipe has it."""
    t, options = given.train, stream_options(given)
    return Recurrent(given.text.ids, batch_size=t.batch_size, accumulate=t.accumulate, **options)
