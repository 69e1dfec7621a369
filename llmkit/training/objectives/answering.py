"""What all objectives that ask a model of two stacks for an answer share; they differ in their examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llmkit.training.objectives.answers import TOKEN, AnswerBatch, Example, Frame, batch_of
from llmkit.training.objectives.given import Given
from llmkit.training.objectives.glimpse import Glimpse, Lane, Mark, lane
from llmkit.training.objectives.objective import (
    NO_TARGET,
    Loss,
    Measured,
    Picks,
    Plain,
    evenly_spaced,
    held_out,
    is_cut,
)
from llmkit.training.objectives.token_loss import token_nats
from llmkit.training.order import BucketedOrder, ShuffledOrder
from llmkit.training.seeds import Purpose, generator

if TYPE_CHECKING:
    from llmkit.models.config import EncoderDecoderConfig
    from llmkit.models.two_towers import EncoderDecoderModel

# Examples of the validation data that are written out in full, token by token, whenever scores are taken.
WRITTEN = 32


@dataclass(frozen=True)
class Pick:
    """Which example: `index` of the training data in a pass over them, or of the validation data."""

    index: int
    epoch: int = 0
    held_out: bool = False


class Answering(Plain):
    """Cross-entropy of the answer's tokens, each given the source and the answer so far.

    A model that foretells in several streams (llmkit.models.ngram_shells) is asked in each of them, all of equal weight
    (Qi et al. 2020), unless its settings want the next token alone.

    A subclass gives `example` and `judge`, and the validation batches as `batches`.
    """

    order: ShuffledOrder | BucketedOrder
    batches: Sequence[Picks]
    n_examples: int

    def __init__(self, given: Given) -> None:
        config: Any = given.config
        t = given.train
        self.given, self.frame = given, Frame.of(given)
        self.seq_len, self.batch_size, self.seed = t.seq_len, t.batch_size, t.seed
        self.label_smoothing = given.objective.label_smoothing or getattr(config, "label_smoothing", 0.0)
        self.next_token_only: bool = getattr(config, "next_token_only", False)

    # What a subclass says.

    def example(self, pick: Pick, rng: np.random.Generator) -> Example:
        """One example, with its random draws from `rng`."""
        raise NotImplementedError

    def judge(self, examples: Sequence[Example], written: Sequence[Sequence[int]]) -> Measured:
        """How good the answers are that the model wrote to some examples."""
        raise NotImplementedError

    # What they share.

    def picks(self, first: int, count: int) -> Picks:
        """See Objective."""
        return self.order.picks(first, count)

    def held_out(self) -> Sequence[Picks]:
        """See Objective."""
        return self.batches

    def collate(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> AnswerBatch:
        """See Objective."""
        return batch_of(
            self.examples(picks, rngs),
            self.frame,
            most=self.seq_len,
            to_write=self._written_per_batch if picks.held_out else 0,
        )

    def examples(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Example]:
        """The examples of a batch."""
        which = zip(picks.index.tolist(), picks.epoch.tolist(), rngs, strict=True)
        return [self.example(Pick(index, epoch, picks.held_out), rng) for index, epoch, rng in which]

    @property
    def _written_per_batch(self) -> int:
        n = len(evenly_spaced(self.batches, self.given.train.eval_batches))
        return -(-WRITTEN // max(1, n))

    def loss(self, model: EncoderDecoderModel, batch: AnswerBatch) -> Loss:
        """Cross-entropy at the answers' tokens only; the mean over the streams of a model that has several."""
        streams = self._streams(model, batch)
        rows, targets = torch.cat(streams), batch.targets.repeat(len(streams))
        nats = token_nats(model.head, rows, targets, label_smoothing=self.label_smoothing)
        return Loss({TOKEN: nats / len(streams)}, batch.counts)

    def _streams(self, model: Any, batch: AnswerBatch) -> list[Tensor]:
        """Hidden states (n, d_model) at the answers' places, for each stream that foretells."""
        states: Tensor
        if hasattr(model, "streams"):
            states = model.streams(batch.input_ids, batch.attention_mask, None, batch.decoder_input_ids)
            states = states[:, :1] if self.next_token_only else states
        else:
            states = model.decode(batch.decoder_input_ids, model.remember(batch.input_ids, batch.attention_mask))
            states = states[:, None]
        # The output layer is most of the work of a small model: it runs at the targets only.
        return [states[:, i].flatten(0, 1)[batch.positions] for i in range(states.shape[1])]

    def measure(self, model: EncoderDecoderModel, batch: AnswerBatch) -> Measured:
        """Nats and hits at the answers' tokens, and what the answers are like that the model writes by itself."""
        n = batch.counts[TOKEN]
        found: dict[str, tuple[Tensor, int]] = {}
        streams = self._streams(model, batch)
        nats = []
        for ahead, rows in enumerate(streams):
            logits = model.head(rows).float()
            is_hit = logits.argmax(-1) == batch.targets
            nats.append(F.cross_entropy(logits, batch.targets, reduction="sum", ignore_index=NO_TARGET))
            name = "accuracy" if ahead == 0 else f"accuracy_{ahead + 1}_ahead"
            found[name] = is_hit.sum(), n
            if batch.hidden is not None and ahead == 0:
                found["hidden_accuracy"] = (is_hit & batch.hidden).sum(), int(batch.hidden.sum())
        found = {"loss": (torch.stack(nats).mean(), n), **found}
        # How many passes writing takes depends on what is written.
        if batch.to_write and not is_cut(model):
            written = self.write(model, [e.source for e in batch.to_write], [e.target for e in batch.to_write])
            found |= self.judge(batch.to_write, written)
        return found

    def scores(self, means: Mapping[str, Any]) -> dict[str, float]:
        """The loss and what share of the tokens is right, then how good the answers are."""
        return {name: mean for name, mean in means.items() if isinstance(mean, float)}

    def write(self, model: EncoderDecoderModel, sources: Sequence[Any], truths: Sequence[Any] = ()) -> list[list[int]]:
        """What the model answers, always taking the likeliest token; not much longer than the longest truth."""
        config: EncoderDecoderConfig = model.config
        longest = max((len(truth) for truth in truths), default=config.max_seq_len)
        most = max(1, min(config.max_seq_len - self.frame.beside, longest + longest // 2 + 8))
        begin = (self.frame.start, *self.frame.begin)
        return greedy(model, [self.frame.source(s).tolist() for s in sources], begin, {self.frame.end}, most)

    def sample(self, model: EncoderDecoderModel, step: int) -> tuple[str, str] | None:
        """What the model writes for the recipe's prompt, or else for an example it has not learned from."""
        tokenizer, prompt = self.given.tokenizer, self.given.train.sample_prompt
        if tokenizer is None:
            return None
        if prompt:
            room = self.seq_len - self.frame.around
            return prompt, self._shown(self.write(model, [np.array(tokenizer.encode(prompt)[:room])])[0])
        rng = generator(self.seed, Purpose.SAMPLE, step)
        sizes = [len(batch.index) for batch in self.batches]
        chosen = int(rng.integers(sum(sizes) or self.n_examples))
        if sizes:
            chosen = int(np.concatenate([batch.index for batch in self.batches])[chosen])
        example = self.example(Pick(chosen, held_out=bool(sizes)), rng)
        said = self.write(model, [example.source], [example.target])[0]
        return self._shown(example.source), f"{self._shown(said)} (it was: {self._shown(example.target)})"

    def _shown(self, ids: Iterable[int]) -> str:
        assert self.given.tokenizer is not None
        return self.given.tokenizer.decode([int(i) for i in ids]).strip()

    def preview(self, picks: Picks, rngs: Sequence[np.random.Generator]) -> list[Glimpse]:
        """The text, what the model reads of it, and what it is to write."""
        f, special = self.frame, self.given.words.special
        found = []
        for e in self.examples(picks, rngs):
            marks = e.marks or [Mark.PLAIN] * len(e.source)
            inside = list(zip(e.source.tolist(), marks, strict=True))
            around = [[(i, Mark.SPECIAL) for i in ids] for ids in (f.before, f.after)]
            lanes = [
                lane("text", e.text),
                Lane("input", [*around[0], *inside, *around[1]]),
                lane("target", f.answer(e.target), Mark.TARGET, special=special),
            ]
            found.append(Glimpse(lanes, dict(e.notes)))
        return found


def greedy(
    model: EncoderDecoderModel,
    sources: Sequence[Sequence[int]],
    begin: Sequence[int],
    ends: Iterable[int],
    most: int,
) -> list[list[int]]:
    """The likeliest token each time, until an end token or `most` of them; neither `begin` nor the end is given back.

    The model must be in eval mode.
    """
    from llmkit.generation.decode import Decoder
    from llmkit.generation.settings import Sampling

    settings = Sampling(max_tokens=most, temperature=0.0, top_p=None)
    decoder = Decoder(model, [list(begin)] * len(sources), settings, sources=sources)
    texts: list[list[int]] = [[] for _ in sources]
    ends = frozenset(ends)
    for _ in range(most):
        ended = set()
        for drawn in decoder.step():
            if drawn.id in ends:
                ended.add(drawn.row)
            else:
                texts[drawn.row].append(drawn.id)
        decoder.drop(ended)
        if not decoder.rows:
            break
    return texts


def in_a_row(n: int, size: int) -> list[Picks]:
    """Batches of the validation data in their own order: `size` of the `n` examples each."""
    return [held_out(np.arange(i, min(i + size, n))) for i in range(0, n, size)]


Skill = Callable[[Example, Sequence[int]], bool]


def share(name: str, examples: Sequence[Example], written: Sequence[Sequence[int]], skill: Skill) -> Measured:
    """How many answers have a quality."""
    hits = sum(skill(e, w) for e, w in zip(examples, written, strict=True))
    return {name: (torch.tensor(float(hits)), len(examples))}


def is_exact(example: Example, written: Sequence[int]) -> bool:
    """Whether every token is right."""
    return list(written) == example.target.tolist()
