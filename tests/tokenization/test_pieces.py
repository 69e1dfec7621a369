"""Encoding by a table of pieces against the `tokenizers` library's own encoding of the whole text."""

import json

import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmkit.tokenization.pieces import is_wordwise
from llmkit.tokenization.tokenizer import Tokenizer
from llmkit.tokenization.train import train

TEXT = ["Some words, and more: Ünïcode, naïve ｆｕｌｌ ﬁne 東京 don't 3.14 ok! the the of to a b c d e f g"] * 30
ODD = "aeTö ́̈'’.,![]MASK<>/s▁ \t\n\r\x0b\x0c\x1c\x1f\x85\xa0\u2028\u200b\u3000\ufeff\x00\x07東京ﬁ½¨ªⅣｆ\U0001f600\u0301"


@pytest.fixture(scope="module", params=["wordpiece", "cased", "unigram", "bpe"])
def tokenizer(request):
    if request.param == "cased":
        return train(TEXT, algorithm="wordpiece", vocab_size=150, lowercase=False)
    return train(TEXT, algorithm=request.param, vocab_size=400 if request.param == "bpe" else 150)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(alphabet=ODD, max_size=30) | st.text(max_size=20), min_size=1, max_size=4))
@example(["the [MASK] of</s> a<s>", " ", "", "a\x1cb c\u0301 \u0301d \xa0e"])
def test_a_table_of_pieces_changes_no_id(tokenizer, texts):
    assert tokenizer._pieces is not None
    own = [e.ids for e in tokenizer.backend.encode_batch_fast(texts, add_special_tokens=False)]
    assert tokenizer.encode_batch(texts) == own


def test_words_are_not_cut_apart_where_added_tokens_or_settings_reach_across_them():
    wordpiece, unigram = (train(TEXT, algorithm=name, vocab_size=150) for name in ("wordpiece", "unigram"))
    assert is_wordwise(wordpiece._spec, ())
    assert not is_wordwise(wordpiece._spec, [tokenizers.AddedToken("two words", normalized=True)])
    spec = json.loads(json.dumps(unigram._spec))
    spec["pre_tokenizer"]["pretokenizers"][1]["prepend_scheme"] = "first"
    assert not is_wordwise(spec, ())
    added = tokenizers.Tokenizer.from_str(wordpiece.backend.to_str())
    added.add_tokens(["new york"])
    slow = Tokenizer(added, {})
    assert slow._pieces is None
    assert slow.encode("the New York") == added.encode("the New York", add_special_tokens=False).ids
