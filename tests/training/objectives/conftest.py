"""Made-up text and small models of two stacks for the objectives that train them."""

import numpy as np
import pytest
import torch

from llmkit.data.corpus import TokenCorpus
from llmkit.models.registry import load_family
from llmkit.recipe.schema import ObjectiveSettings, TrainSettings
from llmkit.training.objectives.given import Given, Vocabulary

PAD, END, MASK = 0, 1, 2
SENTINELS = tuple(range(50, 60))
FAMILY = {
    "span_corruption": "t5",
    "denoising": "bart",
    "gap_sentences": "pegasus",
    "future_ngram": "prophetnet",
    "seq2seq": "marian",
}


def corpus(documents):
    """The corpus of documents that are lists of sentences that are lists of ids."""
    sentences = [s for d in documents for s in d]
    starts = np.cumsum([0, *map(len, sentences)])
    first = np.cumsum([0, *map(len, documents)])
    ids = np.array([i for s in sentences for i in s], dtype=np.uint16)
    return TokenCorpus.in_memory(ids, starts[first].astype(np.int64), starts.astype(np.int64))


def counting(n=40, seed=0, period=12):
    """Documents of 3 to 5 sentences of 2 to 6 tokens that count 10, 11, 12 ... and begin again after `period`."""
    rng, documents = np.random.default_rng(seed), []
    for _ in range(n):
        at, sentences = int(rng.integers(period)), []
        for _ in range(rng.integers(3, 6)):
            size = int(rng.integers(2, 7))
            sentences.append([10 + (at + i) % period for i in range(size)])
            at += size
        documents.append(sentences)
    return documents


def backwards(documents):
    """Pairs of a text and the same from its end."""
    import dataclasses

    whole = [[[i for s in d for i in s][:12]] for d in documents]
    return dataclasses.replace(corpus(whole), target=corpus([[d[0][::-1]] for d in whole]))


@pytest.fixture
def make_corpus():
    return corpus


@pytest.fixture
def make_given():
    def make(name, *, family=None, text=None, validation=None, objective=None, config=None, **train):
        """All that objective `name` is made from, with its usual family, over counting or the pairs made of it."""
        side = backwards if name == "seq2seq" else corpus
        sizes = {"d_model": 16, "n_layers": 1, "n_heads": 2, "d_ff": 32, "max_seq_len": 64, "dropout": 0.0}
        kind = load_family(family or FAMILY[name]).config_class
        start = {"pad_id": PAD, "eos_id": END}[kind.BEGINS_WITH]
        sizes |= {"pad_id": PAD, "eos_id": END, "decoder_start_id": start, "vocab_size": 60, "head": "seq2seq"}
        if hasattr(kind, "ffn_dropout"):
            sizes["ffn_dropout"] = 0.0
        settings = {"steps": 12, "batch_size": 4, "seq_len": 24, "lr": 1e-2, "seed": 3, "log_every": 1}
        return Given(
            objective=ObjectiveSettings(name=name, **(objective or {})),
            train=TrainSettings(**{**settings, "eval_every": 4, "save_every": 4, **train}),
            config=kind(**{**sizes, "attention_dropout": 0.0, **(config or {})}),
            words=Vocabulary(
                size=60,
                pad=PAD,
                eos=END,
                mask=MASK,
                sentinels=SENTINELS,
                special=frozenset({PAD, END, MASK, *SENTINELS}),
            ),
            text=text or side(counting()),
            validation=validation or side(counting(12, seed=1)),
        )

    return make


@pytest.fixture
def build():
    def make(given, seed=0):
        torch.manual_seed(seed)
        return load_family(given.config.__class__.__module__.rpartition(".")[2]).build(given.config)

    return make
