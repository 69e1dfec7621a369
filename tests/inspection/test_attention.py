import numpy as np
import pytest
import torch

from llmkit.errors import InputRefused, UsageError
from llmkit.inspection import attention
from llmkit.inspection.attention import Look, read_attention
from llmkit.inspection.tokens import find_query, read_tokens
from llmkit.models.registry import load_family
from llmkit.tokenization.train import train

TEXT = "the cat sat on the mat and the cat ran"


@pytest.fixture(scope="module", params=["bert", "gpt2", "llama"])
def read(request):
    """model, tokens, causal of one family."""
    family = load_family(request.param)
    encoder = family.kind.value == "encoder"
    tokenizer = train([TEXT + " 😀 é"] * 3, algorithm="wordpiece" if encoder else "bpe", vocab_size=300)
    torch.manual_seed(0)
    model = family.build(
        family.config_class(vocab_size=tokenizer.vocab_size, d_model=32, n_layers=3, n_heads=4, max_seq_len=40)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model.train(), read_tokens(TEXT, tokenizer, encoder=encoder, context=40), model.is_causal


def test_every_head_is_described_and_maps_are_distributions(read):
    model, tokens, causal = read
    reading = read_attention(model, Look(tokens))
    assert set(reading.heads) == set(reading.maps) == {(layer, head) for layer in range(3) for head in range(4)}
    for weights in reading.maps.values():
        np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
        assert not causal or (np.triu(weights, 1) == 0).all()
    assert model.training  # left as it was found
    assert len(reading.most_peaked(5)) == 5


def test_one_layer_at_a_time_gives_the_same(read, monkeypatch):
    model, tokens, _ = read
    together = read_attention(model, Look(tokens))
    monkeypatch.setattr(attention, "_HOLD_BYTES", 4 * len(tokens) ** 2 * 4)
    one_by_one = read_attention(model, Look(tokens), keep=[(2, 1)])
    assert set(one_by_one.maps) == {(2, 1)}
    np.testing.assert_allclose(one_by_one.maps[2, 1], together.maps[2, 1], atol=1e-6)
    assert one_by_one.heads.keys() == together.heads.keys()


def test_encoders_are_framed_and_long_texts_cut():
    tokenizer = train([TEXT] * 3, algorithm="wordpiece", vocab_size=200)
    tokens = read_tokens(TEXT, tokenizer, encoder=True, context=8)
    assert (tokens.names[0], tokens.names[-1], len(tokens)) == ("[CLS]", "[SEP]", 8)
    assert tokens.dropped == len(tokenizer.encode(TEXT)) - 6
    assert tokens.sinks == (0, 7)
    with pytest.raises(InputRefused, match="no tokens"):
        read_tokens("", tokenizer, encoder=True, context=8)


def test_pieces_of_characters_are_shown_as_bytes():
    tokens = read_tokens("😀", train(["abc"], vocab_size=260), encoder=False, context=8)
    assert tokens.names == ("⟨F0⟩", "⟨9F⟩", "⟨98⟩", "⟨80⟩")


@pytest.mark.parametrize(("asked", "position", "matches"), [("3", 3, 1), ("cat", 8, 2), ("CAT", 8, 2), ("mat", 5, 1)])
def test_a_query_is_a_number_or_a_word(asked, position, matches):
    tokenizer = train([TEXT] * 9, vocab_size=400)
    tokens = read_tokens(TEXT, tokenizer, encoder=False, context=40)
    assert len(tokens) == 10  # every word is one token
    assert find_query(asked, tokens) == (position, matches)


def test_a_word_of_several_tokens_means_its_last_one():
    tokenizer = train(["xyz"], vocab_size=258)
    tokens = read_tokens("ab cab", tokenizer, encoder=False, context=40)
    assert find_query("ab", tokens) == (5, 2)


@pytest.mark.parametrize("asked", ["10", "-1", "dog", "", " "])
def test_what_is_not_there_is_refused_with_a_hint(asked):
    tokens = read_tokens(TEXT, train([TEXT] * 9, vocab_size=400), encoder=False, context=40)
    with pytest.raises(UsageError) as refused:
        find_query(asked, tokens)
    assert refused.value.hint


def test_attention_that_is_not_finite_is_refused_not_left_out(read):
    import copy

    model, tokens, _ = copy.deepcopy(read[0]), *read[1:]
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(InputRefused, match="layer 0 is not finite"):
        read_attention(model, Look(tokens))


def test_a_text_longer_than_any_context_is_refused_before_it_is_tokenized():
    with pytest.raises(InputRefused, match="at most 1,048,576"):
        read_tokens("a" * (1 << 20) + "b", None, encoder=False, context=32)
