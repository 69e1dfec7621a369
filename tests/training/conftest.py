"""A transformer small enough to train in a test, with the interface objectives need, and data to go with it."""

import numpy as np
import pytest
import torch
from torch import nn

from llmkit.recipe.schema import TrainSettings
from llmkit.training.objectives.causal import Causal
from llmkit.training.objectives.hiding import Hiding, MaskTokens
from llmkit.training.objectives.masked import Masked
from llmkit.training.objectives.windows import Text


class TinyModel(nn.Module):
    """One attention layer, dropout, tied head, and a pair head."""

    def __init__(self, vocab_size=50, width=16, causal=True):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(0.1)
        self.pairs = nn.Linear(width, 2)
        self.causal = causal

    def encode(self, input_ids, attention_mask=None, token_type_ids=None):
        x = self.dropout(self.embedding(input_ids))
        q, k, v = self.qkv(x).chunk(3, -1)
        mask = None if attention_mask is None else attention_mask[:, None, :].bool()
        is_causal = self.causal and mask is None
        x = x + nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=is_causal)
        return self.norm(x + self.down(self.up(x).relu()))

    def head(self, hidden):
        return hidden @ self.embedding.weight.T

    def pair_head(self, hidden):
        return self.pairs(hidden[:, 0])


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny_model():
    def make(seed=0, **options):
        torch.manual_seed(seed)
        return TinyModel(**options)

    return make


@pytest.fixture
def stream():
    return np.random.default_rng(0).integers(0, 50, 500).astype(np.uint16)


@pytest.fixture
def settings():
    def make(**changes):
        values = {"steps": 12, "batch_size": 4, "seq_len": 8, "accumulate": 2, "lr": 1e-2, "seed": 3, "log_every": 2}
        return TrainSettings(**{**values, "eval_every": 4, "save_every": 4, **changes})

    return make


@pytest.fixture
def causal(stream):
    return Causal(stream[:400], seq_len=8, seed=3, validation=stream[400:], validation_bytes=200)


@pytest.fixture
def documents():
    """30 documents of 1 to 6 sentences of 1 to 9 tokens; every token names its document (ids 5 + document)."""
    rng = np.random.default_rng(1)
    ids, sentences, bounds = [], [0], [0]
    for d in range(30):
        for _ in range(rng.integers(1, 7)):
            ids += [5 + d] * int(rng.integers(1, 10))
            sentences.append(len(ids))
        bounds.append(len(sentences) - 1)
    return Text(np.array(ids, dtype=np.uint16), np.array(sentences), np.array(bounds))


@pytest.fixture
def mask_tokens():
    return MaskTokens(cls=2, sep=3, mask=4, pad=0, ordinary=np.arange(5, 50))


@pytest.fixture
def masked(documents, mask_tokens):
    def make(**options):
        return Masked(documents, Hiding(mask_tokens, 0.15), **{"seq_len": 24, "batch_size": 4, "seed": 0, **options})

    return make


@pytest.fixture
def rngs():
    """One generator for each of n examples."""
    return lambda n, seed=0: [np.random.default_rng((seed, i)) for i in range(n)]


@pytest.fixture
def made(rngs):
    """The batch of some picks, each example with draws of its own."""
    return lambda objective, picks, seed=0: objective.collate(picks, rngs(len(picks.index), seed))
