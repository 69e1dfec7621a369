"""Small tokenizers of every kind, trained once."""

import pytest

from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.tokenization.train import train

TEXT = (
    "The cat sat on the mat; the dog's dinner wasn't there.\n\n"
    "\tIn 1998, naïve readers (42 of them) met 東京 and  two spaces 🙂\r\n"
    "def f(x):\n    return x ** 2  # comment\n\n\n"
    "Elle a été très étonnée — « vraiment ? »\n"
) * 8


@pytest.fixture(scope="session")
def text() -> str:
    return TEXT


@pytest.fixture(scope="session")
def bpe() -> Tokenizer:
    return train([TEXT], vocab_size=400)


@pytest.fixture(scope="session")
def wordpiece() -> Tokenizer:
    return train([TEXT], algorithm="wordpiece", vocab_size=200)


@pytest.fixture(scope="session")
def unigram() -> Tokenizer:
    return train([TEXT], algorithm="unigram", vocab_size=200)


@pytest.fixture(scope="session")
def char() -> Tokenizer:
    return train([TEXT], algorithm="char", vocab_size=500)
