import pytest
import tokenizers
import torch

from llmkit.errors import InputRefused
from llmkit.prediction.fill_mask import MaskFiller
from llmkit.tokenization.tokenizer import Tokenizer

LINES = [
    "the [MASK] sat on the mat .",
    "a dog ran to the red [MASK] !",
    "[MASK]",
    "the cat walks and the dog [MASK] it .",
]


@pytest.fixture(scope="session")
def fill(bert):
    return MaskFiller(bert.model, bert.tokenizer, top=5)


def test_guesses_equal_those_of_transformers(fill, bert_directory):
    from transformers import pipeline

    oracle = pipeline("fill-mask", model=str(bert_directory), tokenizer=str(bert_directory), top_k=5, device="cpu")
    for line, answer in zip(LINES, fill(LINES), strict=True):
        expected = oracle(line)
        (blank,) = answer.blanks
        assert [guess.id for guess in blank.guesses] == [found["token"] for found in expected]
        assert [g.prob for g in blank.guesses] == pytest.approx([found["score"] for found in expected], abs=1e-6)


@torch.no_grad()
def test_several_masks_in_a_line_are_guessed_from_one_pass(fill, bert):
    (answer,) = fill(["the [MASK] sat on the [MASK] ."])
    ids = torch.tensor([[2, *bert.tokenizer.encode("the [MASK] sat on the [MASK] ."), 3]])
    best = bert.model(ids).logits[0].argmax(-1)
    assert [blank.guesses[0].id for blank in answer.blanks] == [int(best[2]), int(best[6])]


def test_answers_do_not_depend_on_the_company_or_the_order(fill):
    together = fill([*LINES, "no mask here", ""])
    for line, answer in zip(reversed(LINES), fill(LINES[::-1]), strict=True):
        same = together[LINES.index(line)]
        assert answer.filled == same.filled == fill([line])[0].filled
    assert together[-2].filled == "no mask here"
    assert together[-1].blanks == ()


def test_only_the_mask_changes_in_the_text(fill):
    text = "  The\tCAT  [MASK] é😀 <mask>\u202e."
    (answer,) = fill([text])
    words = [blank.guesses[0].word for blank in answer.blanks]
    assert answer.filled == f"  The\tCAT  {words[0]} é😀 {words[1]}\u202e."


def test_a_text_longer_than_the_context_is_read_in_windows_that_show_each_mask(fill, bert):
    filler = "the cat sat on the mat . "
    far_apart = f"[MASK] sat on {filler * 10} [MASK] {filler * 10} dog [MASK]"
    answer = fill([far_apart])[0]
    assert [len(blank.guesses) for blank in answer.blanks] == [5, 5, 5]
    alone = fill([f"[MASK] sat on {filler * 10}"])[0]
    assert answer.blanks[0].guesses[0].id == alone.blanks[0].guesses[0].id


def test_masks_too_many_for_the_context_are_all_guessed(fill):
    (answer,) = fill(["[MASK] " * 100])
    assert len(answer.blanks) == 100
    assert all(blank.guesses for blank in answer.blanks)


def test_a_piece_of_a_word_reads_without_its_mark(fill, bert):
    guess = fill._guess(bert.tokenizer.id("##ing"), 0.5)
    assert (guess.token, guess.word) == ("##ing", "ing")


def test_the_space_before_a_mask_belongs_to_the_word_in_byte_level_vocabularies(bert):
    vocab = {c: i for i, c in enumerate(tokenizers.pre_tokenizers.ByteLevel.alphabet())}
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = tokenizers.decoders.ByteLevel()
    backend.add_special_tokens(["[MASK]"])
    tokenizer = Tokenizer(backend, {"mask": "[MASK]"})
    filler = MaskFiller(bert.model, tokenizer)
    spelled = [tokenizer.token(i) for i in filler._encode(["a [MASK] b"])[0]]
    assert spelled == ["a", "[MASK]", "Ġ", "b"]


def test_a_mask_token_that_the_tokenizer_does_not_look_for_is_found_all_the_same(bert):
    vocab = {word: i for i, word in enumerate(["[UNK]", "the", "cat", "[MASK]", "[", "MASK", "]"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="[UNK]"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    filler = MaskFiller(bert.model, Tokenizer(backend, {"mask": "[MASK]"}))
    assert filler._encode(["the [MASK] cat [MASK]", "[MASK]"]) == [[1, 3, 2, 3], [3]]


def test_a_tokenizer_without_a_mask_is_refused(bert):
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    with pytest.raises(InputRefused, match="no mask token"):
        MaskFiller(bert.model, Tokenizer(backend, {}))
