"""A stand-in decoder: small, order- and position-dependent, with a cache that checks how it is used."""

from types import SimpleNamespace

import pytest
import tokenizers
import torch
from torch import nn

from llmkit.tokenization.byte_level import ALPHABET
from llmkit.tokenization.tokenizer import Tokenizer


class ToyCache:
    def __init__(self, batch_size, max_len):
        self.ids = torch.zeros(batch_size, 0, dtype=torch.long)
        self.max_len = max_len

    @property
    def length(self):
        return self.ids.shape[1]

    def truncate(self, length):
        self.ids = self.ids[:, :length]

    def reorder(self, index):
        self.ids = self.ids[index]


class ToyDecoder(nn.Module):
    def __init__(self, vocab_size=50, context=32, stop_ids=(), spread=3.0):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.tokens = nn.Parameter(torch.randn(vocab_size, 16, generator=generator))
        self.positions = nn.Parameter(torch.randn(context, 16, generator=generator))
        self.out = nn.Parameter(torch.randn(16, vocab_size, generator=generator) * spread)
        self.dropout = nn.Dropout(0.5)
        sizes = {"vocab_size": vocab_size, "max_seq_len": context}
        self.config = SimpleNamespace(**sizes, stop_ids=tuple(stop_ids), prefix_lm=False)
        self.n_calls = 0
        self.n_positions = 0

    def new_cache(self, batch_size, max_len):
        return ToyCache(batch_size, max_len)

    def encode(self, input_ids, *, cache=None):
        self.n_calls += 1
        self.n_positions += input_ids.numel()
        past = cache.ids if cache is not None else input_ids[:, :0]
        ids = torch.cat([past, input_ids], dim=1)
        assert ids.shape[1] <= self.config.max_seq_len, "fed past the context"
        if cache is not None:
            assert ids.shape[1] <= cache.max_len, "fed past the cache"
            cache.ids = ids
        x = self.tokens[ids]
        seq = ids.shape[1]
        decay = 0.7 ** (torch.arange(seq)[:, None] - torch.arange(seq)[None]).clamp(min=0) * torch.ones(seq, seq).tril()
        # One row at a time: a matrix product over the batch may round differently for each batch size.
        mixed = torch.stack([decay @ row for row in x]) + self.positions[:seq]
        return self.dropout(torch.tanh(mixed))[:, past.shape[1] :]

    def head(self, hidden):
        return torch.stack([row @ self.out for row in hidden.reshape(-1, 16)]).view(*hidden.shape[:-1], -1)


@pytest.fixture
def toy():
    return ToyDecoder


@pytest.fixture(scope="session")
def byte_tokenizer():
    """Byte-level, one token per byte and a few merges that cut characters in half."""
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("Ã", "©"), ("ð", "Ł")]
    vocab = {c: i for i, c in enumerate(ALPHABET)}
    for left, right in merges:
        vocab[left + right] = len(vocab)
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["<|endoftext|>"])
    return Tokenizer(backend, {"eos": "<|endoftext|>", "bos": "<|endoftext|>"})
