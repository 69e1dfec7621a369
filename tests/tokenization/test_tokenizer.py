"""Text to ids and back."""

import pytest

from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.tokenization.train import train

TEXT = "the cat sat on the mat.\n\nthe dog's dinner, 42 times; naïve 東京 🙂\n" * 20


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train([TEXT], vocab_size=400)


def test_byte_level_text_comes_back_exactly(bpe):
    text = TEXT + "\r\n\x00\t unseen ☃"
    assert bpe.decode(bpe.encode(text)) == text
    assert bpe.is_lossless


def test_a_saved_tokenizer_reads_back_the_same(bpe, tmp_path):
    bpe.save(tmp_path)
    again = Tokenizer.from_file(tmp_path)
    assert again.sha256 == bpe.sha256
    assert again.roles == bpe.roles
    assert again.encode(TEXT) == bpe.encode(TEXT)
