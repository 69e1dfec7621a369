import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from llmkit.generation.detokenize import TextStream
from llmkit.tokenization.tokenizer import Tokenizer


def made(pieces, decoder, *, byte_fallback=False, special=("<s>",)):
    vocab = {piece: i for i, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(models.BPE(vocab, [], byte_fallback=byte_fallback))
    backend.decoder = decoder
    backend.add_special_tokens(list(special))
    return Tokenizer(backend, {})


WORDPIECE = made(["the", "##re", "don", "'", "##t", ".", ",", "é", "##é", "n't", "?"], decoders.WordPiece())
METASPACE = made(["▁the", "re", "▁", "▁▁", "é", ".", "\ufffd", "▁a", " "], decoders.Metaspace())
BYTES = [f"<0x{b:02X}>" for b in (0xE4, 0xBD, 0xA0, 0xF0, 0x9F, 0x98, 0x80, 0x41, 0xFF, 0x20)]
LLAMA = made(
    ["▁the", "re", "▁", "▁▁", "é", "▁a", *BYTES],
    decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    ),
    byte_fallback=True,
)
# Byte-level with a normalizer, so not lossless: takes the window, not the byte stream.
LOWERCASED = made([*pre_tokenizers.ByteLevel.alphabet()], decoders.ByteLevel())
LOWERCASED.backend.normalizer = tokenizers.normalizers.Lowercase()


def streamed(tokenizer, ids):
    stream = TextStream(tokenizer)
    return [*(stream.push(i) for i in ids), stream.flush()]


@pytest.mark.parametrize(
    "tokenizer", [WORDPIECE, METASPACE, LLAMA, LOWERCASED], ids=["wordpiece", "metaspace", "llama", "lower"]
)
def test_pieces_joined_are_the_decoded_text_for_decoders_that_look_at_neighbours(tokenizer):
    @given(st.lists(st.integers(0, tokenizer.vocab_size + 1), max_size=200))
    @settings(max_examples=150, deadline=None)
    def check(ids):
        assert "".join(streamed(tokenizer, ids)) == tokenizer.decode(ids, skip_special=True)

    check()


@given(st.lists(st.integers(0, 262), max_size=60))
@settings(max_examples=200, deadline=None)
def test_pieces_joined_are_the_decoded_text_for_any_bytes(byte_tokenizer, ids):
    assert byte_tokenizer.is_lossless
    assert "".join(streamed(byte_tokenizer, ids)) == byte_tokenizer.decode(ids, skip_special=True)


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_piece_holds_half_a_character(byte_tokenizer, text):
    pieces = streamed(byte_tokenizer, byte_tokenizer.encode(text))
    assert "".join(pieces) == text
    assert "\ufffd" in text or not any("\ufffd" in piece for piece in pieces)


def test_an_emoji_of_four_tokens_appears_at_its_last(byte_tokenizer):
    ids = byte_tokenizer.encode("a😀b")
    assert streamed(byte_tokenizer, ids) == ["a", "", "", "😀", "b", ""]


def test_byte_pieces_wait_for_the_end_of_their_run():
    ids = [LLAMA.id(p) for p in ("▁a", "<0xE4>", "<0xBD>", "<0xA0>", "re")]
    assert streamed(LLAMA, ids) == ["a", "", "", "", "你re", ""]


def test_a_long_text_is_not_decoded_from_its_start_for_every_token(monkeypatch):
    longest = 0
    decode = Tokenizer.decode

    def watched(self, ids, **options):
        nonlocal longest
        longest = max(longest, len(ids))
        return decode(self, ids, **options)

    monkeypatch.setattr(Tokenizer, "decode", watched)
    ids = [METASPACE.id("▁the"), METASPACE.id("re")] * 500
    assert "".join(streamed(METASPACE, ids)) == " ".join(["there"] * 500)
    assert longest <= 70
