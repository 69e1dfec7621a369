"""Text to ids and back, and what a saved tokenizer is to others."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit.errors import InputRefused, StorageError
from llmkit.tokenization.tokenizer import Tokenizer

ALL = ("bpe", "wordpiece", "unigram", "char")
any_text = st.text(st.characters(codec="utf-8"))
wordy = st.text(st.sampled_from("aab  \n\n\t\r'sdtlve1 é東!.\x1c\x85\u00a0\u3000<|endoftext|>"))


@pytest.fixture(params=ALL)
def tokenizer(request) -> Tokenizer:
    return request.getfixturevalue(request.param)


@given(text=any_text | wordy)
def test_byte_level_text_comes_back_exactly(bpe, text):
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert bpe.decode_bytes(ids) == text.encode()


@given(text=wordy)
def test_ids_equal_those_of_the_library(bpe, text):
    assert bpe.encode(text) == bpe.backend.encode(text, add_special_tokens=False).ids


def test_ids_equal_those_of_the_library_around_every_space_and_every_kind_of_letter(bpe):
    codes = [*range(0x900), *range(0x1680, 0x3100, 3), *range(0x2000, 0x2070), 0x180E, 0xFEFF, 0x1F642]
    texts = [f"x {chr(c)}{chr(c)}y{chr(c)} \n{chr(c)} 1{chr(c)}'s" for c in codes]
    expected = [e.ids for e in bpe.backend.encode_batch_fast(texts, add_special_tokens=False)]
    assert bpe.encode_batch(texts) == expected
    whole = "".join(texts)
    assert bpe.encode(whole) == bpe.backend.encode(whole, add_special_tokens=False).ids


@given(ids=st.lists(st.integers(0, 399)))
def test_decoding_equals_the_library_even_inside_characters(bpe, ids):
    assert bpe.decode(ids) == bpe.backend.decode(ids, skip_special_tokens=False)
    assert bpe.decode(ids, skip_special=True) == bpe.backend.decode(ids, skip_special_tokens=True)


def test_only_byte_level_claims_to_be_lossless(bpe, wordpiece, unigram, char):
    assert bpe.is_lossless
    assert not wordpiece.is_lossless
    assert not unigram.is_lossless
    assert not char.is_lossless


def test_characters_of_the_training_text_come_back(char, text):
    assert char.decode(char.encode(text)) == text
    assert char.encode("☃") == [char.unk_id]


def test_offsets_point_at_the_text_of_each_token(bpe):
    text = "the dog's dinner"
    assert [text[a:b] for _, a, b in bpe.encode_offsets(text)] == [bpe.decode([i]) for i in bpe.encode(text)]


def test_special_tokens_have_their_places(bpe, wordpiece, unigram, char):
    assert bpe.bos_id == bpe.eos_id == bpe.id("<|endoftext|>") == 0
    assert bpe.pad_id == bpe.id("<|pad|>") == 1
    w = wordpiece
    assert [w.pad_id, w.unk_id, w.cls_id, w.sep_id, w.mask_id] == [0, 1, 2, 3, 4]
    assert [unigram.pad_id, unigram.unk_id, unigram.bos_id, unigram.eos_id] == [0, 1, 2, 3]
    assert char.eos_id == char.vocab_size - 3
    assert bpe.special_ids == {0, 1}
    assert bpe.mask_id is None


def test_special_tokens_in_text_are_recognized(wordpiece):
    assert wordpiece.encode("the [MASK] sat")[1] == wordpiece.mask_id


def test_a_saved_tokenizer_reads_back_the_same(tokenizer, text, tmp_path):
    tokenizer.save(tmp_path)
    for again in (Tokenizer.from_file(tmp_path), Tokenizer.from_file(tmp_path / "tokenizer.json")):
        assert again.sha256 == tokenizer.sha256
        assert again.roles == tokenizer.roles
        assert again.encode(text) == tokenizer.encode(text)
    (tmp_path / "tokenizer_config.json").unlink()
    assert Tokenizer.from_file(tmp_path).roles == tokenizer.roles


def test_saving_leaves_nothing_else_behind(bpe, tmp_path):
    bpe.save(tmp_path)
    bpe.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


def test_saving_replaces_a_link_and_leaves_its_target(bpe, tmp_path):
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "tokenizer.json").symlink_to(target)
    bpe.save(tmp_path)
    assert target.read_text() == "mine"


def test_transformers_opens_what_was_saved(tokenizer, text, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
    assert theirs.pad_token_id == tokenizer.pad_id
    assert theirs.eos_token_id == tokenizer.eos_id
    assert theirs.mask_token_id == tokenizer.mask_id
    assert len(theirs) == tokenizer.vocab_size


def test_padding_and_truncation_in_a_file_do_not_change_ids(bpe, tmp_path):
    bpe.save(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["truncation"] = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    assert len(Tokenizer.from_file(tmp_path).encode("many words are here")) > 2


def test_a_vocabulary_of_bert_is_read(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = Tokenizer.from_file(tmp_path)
    assert tokenizer.encode("The cats [MASK]") == [5, 6, 7, 4]
    assert tokenizer.encode_batch(["the cat"], add_special=True) == [[2, 5, 6, 3]]


def test_vocabulary_and_merges_of_gpt2_are_read(bpe, text, tmp_path):
    spec = json.loads(bpe.to_json())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(spec["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in spec["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    assert Tokenizer.from_file(tmp_path).encode(text) == bpe.encode(text)


def test_missing_files_and_unknown_ids_are_named(bpe, tmp_path):
    with pytest.raises(StorageError, match=r"no tokenizer\.json"):
        Tokenizer.from_file(tmp_path)
    with pytest.raises(StorageError, match="no such file"):
        Tokenizer.from_file(tmp_path / "x.json")
    with pytest.raises(InputRefused, match=f"id 9999 is not in the vocabulary of {bpe.vocab_size} tokens"):
        bpe.token(9999)
    assert bpe.decode([9999]) == ""
