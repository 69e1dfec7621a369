"""Words for the masks in a text, by a model trained with masked tokens (Devlin et al. 2018, arXiv:1810.04805)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from llmkit.errors import InputRefused
from llmkit.prediction.batches import batches, finite
from llmkit.tokenization.framing import Framed

if TYPE_CHECKING:
    from llmkit.models.shells import Model
    from llmkit.tokenization.tokenizer import Tokenizer

SPELLINGS = ("[MASK]", "<mask>", "<|mask|>")


@dataclass(frozen=True)
class Guess:
    """token: as the vocabulary spells it; word: as it reads in the text."""

    id: int
    token: str
    word: str
    prob: float


@dataclass(frozen=True)
class Blank:
    """A mask at [start, end) of the text, and the likeliest tokens for it, likeliest first."""

    start: int
    end: int
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class FilledText:
    """A text and what the model would put for each of its masks."""

    text: str
    blanks: tuple[Blank, ...]

    def parts(self) -> list[tuple[str, bool]]:
        """The text with the best guesses in place, in parts: (text, whether it was filled in)."""
        found: list[tuple[str, bool]] = []
        at = 0
        for blank in self.blanks:
            found += [(self.text[at : blank.start], False), (blank.guesses[0].word, True)]
            at = blank.end
        return [part for part in [*found, (self.text[at:], False)] if part[0]]

    @property
    def filled(self) -> str:
        return "".join(text for text, _ in self.parts())

    def as_json(self) -> dict[str, object]:
        """The text, the filled text, and all guesses."""
        masks = [
            {"start": blank.start, "end": blank.end, "top": [asdict(guess) for guess in blank.guesses]}
            for blank in self.blanks
        ]
        return {"text": self.text, "filled": self.filled, "masks": masks}


class MaskFiller:
    """Fills masks. Several masks in a text are guessed from one pass, each as if the others stayed hidden.

    A text longer than the model's context is read in windows around its masks. `top` guesses per mask.
    Raises InputRefused for a tokenizer without a mask token.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, *, top: int = 5) -> None:
        if tokenizer.mask_id is None:
            raise InputRefused("the tokenizer beside the model has no mask token", "choose a model trained with masks")
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._mask_id = tokenizer.mask_id
        self._mask = tokenizer.token(tokenizer.mask_id)
        self._spelled = re.compile("|".join(map(re.escape, dict.fromkeys((self._mask, *SPELLINGS)))))
        # A word token of a byte-level or Unigram vocabulary brings its own leading space: the one before a mask would
        # be a token that training never put there.
        self._takes_space = tokenizer.encode(f"a {self._mask}") != tokenizer.encode(f"a{self._mask}")
        self._before = [i for i in (tokenizer.cls_id,) if i is not None]
        self._after = [i for i in (tokenizer.sep_id,) if i is not None]
        self._room = max(1, model.config.max_seq_len - len(self._before) - len(self._after))
        self._pad_id = next((i for i in (tokenizer.pad_id, model.config.pad_id) if i is not None), 0)
        self._top = min(top, model.config.vocab_size)

    def __call__(self, texts: Sequence[str]) -> list[FilledText]:
        """One answer per text, in order; a text without a mask has no blanks."""
        spans = [[m.span() for m in self._spelled.finditer(text)] for text in texts]
        guesses: list[list[tuple[Guess, ...]]] = [[()] * len(found) for found in spans]
        rows: list[Framed] = []
        wanted: list[tuple[int, list[tuple[int, int]]]] = []  # per row: its text, and (which mask, where in the row)
        with_masks = [index for index, found in enumerate(spans) if found]
        for index, ids in zip(with_masks, self._encode([texts[index] for index in with_masks]), strict=True):
            for row, masks in self._windows(ids):
                rows.append(row)
                wanted.append((index, masks))
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            for batch in batches(rows, pad_id=self._pad_id, device=device):
                hidden = self._model.encode(batch.input_ids, batch.attention_mask)
                found_in = [(place, wanted[i]) for place, i in enumerate(batch.index)]
                at_masks = [(place, at, text, which) for place, (text, ms) in found_in for which, at in ms]
                # The head is the dearest layer of a small model: it sees the masked positions only.
                chosen = hidden[[place for place, *_ in at_masks], [at for _, at, *_ in at_masks]]
                best = finite(self._model.head(chosen)).softmax(-1).topk(self._top)
                for (_, _, owner, which), ids, probs in zip(
                    at_masks, best.indices.tolist(), best.values.tolist(), strict=True
                ):
                    guesses[owner][which] = tuple(map(self._guess, ids, probs))
        return [
            FilledText(text, tuple(Blank(a, b, g) for (a, b), g in zip(found, given, strict=True)))
            for text, found, given in zip(texts, spans, guesses, strict=True)
        ]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, with one mask id for each of its masks."""
        split = [self._spelled.split(text) for text in texts]
        if self._takes_space:
            split = [[piece.removesuffix(" ") for piece in pieces[:-1]] + pieces[-1:] for pieces in split]
        encoded = self._tokenizer.encode_batch([self._mask.join(pieces) for pieces in split])
        for index, pieces in enumerate(split):
            if encoded[index].count(self._mask_id) != len(pieces) - 1:
                # The mask token is in the vocabulary, but the tokenizer does not look for it in texts.
                sides = self._tokenizer.encode_batch(pieces)
                encoded[index] = [*sides[0], *(i for side in sides[1:] for i in (self._mask_id, *side))]
        return encoded

    def _windows(self, ids: list[int]) -> list[tuple[Framed, list[tuple[int, int]]]]:
        """Rows that together show every mask, each with (which mask, where in the row)."""
        places = [at for at, id in enumerate(ids) if id == self._mask_id]
        groups: list[list[int]] = []
        for which, at in enumerate(places):
            if groups and (len(ids) <= self._room or at - places[groups[-1][0]] < self._room):
                groups[-1].append(which)
            else:
                groups.append([which])
        found = []
        for group in groups:
            middle = (places[group[0]] + places[group[-1]] + 1) // 2
            start = max(0, min(middle - self._room // 2, len(ids) - self._room))
            row = Framed([*self._before, *ids[start : start + self._room], *self._after])
            found.append((row, [(which, places[which] - start + len(self._before)) for which in group]))
        return found

    def _guess(self, id: int, prob: float) -> Guess:
        token = str(self._tokenizer.backend.id_to_token(id) or "")
        text = self._tokenizer.decode([id]).strip()
        word = token if not text or "\ufffd" in text else text
        prefix = getattr(self._tokenizer.backend.model, "continuing_subword_prefix", None)
        if prefix and len(word) > len(prefix):
            word = word.removeprefix(prefix)
        return Guess(id, token, word, prob)
