"""What is learned, that it is the same every time, and what happens when the text is odd."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers import models, pre_tokenizers, trainers

from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.tokenization import counting, train
from llmkit.tokenization.merges import learn_merges
from llmkit.tokenization.train import ALGORITHMS

LETTERS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "she",
    "sells",
    "sea",
    "shells",
    "by",
    "the",
    "sea",
    "shore",
]


def corpus(n_words: int = 4000) -> str:
    """Words made of words, the same every time, with line ends and figures between."""
    words, state = [], 1
    for i in range(n_words):
        state = state * 1103515245 + 12345 & 0x7FFFFFFF
        words.append(LETTERS[state % 17] + LETTERS[(state >> 8) % 17][: state % 4] + ("\n" if i % 11 == 0 else ""))
        if i % 37 == 0:
            words.append(f"{state % 1000}, é")
    return " ".join(words)


def naive_merges(words: dict[str, int], n_symbols: int, n_merges: int) -> list[tuple[int, int]]:
    """The definition of BPE, with no cleverness: count all pairs, merge the best, start over."""
    merges = []
    while len(merges) < n_merges:
        pairs: Counter[str] = Counter()
        for word, n in words.items():
            for at in range(len(word) - 1):
                pairs[word[at : at + 2]] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        new = chr(n_symbols + len(merges))
        merges.append((ord(best[0]), ord(best[1])))
        words_after: Counter[str] = Counter()
        for word, n in words.items():
            words_after[word.replace(best, new)] += n
        words = words_after
    return merges


@given(st.dictionaries(st.text("\0\1\2\3", min_size=1, max_size=9), st.integers(1, 9), max_size=12))
def test_merges_are_those_of_the_definition(words):
    assert learn_merges(words, 4, 30) == naive_merges(words, 4, 30)


def test_byte_level_bpe_equals_the_librarys_own_trainer():
    text = corpus()
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        min_frequency=2,
        show_progress=False,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    library.train_from_iterator([text], trainer)
    assert train.train([text], vocab_size=900).backend.get_vocab() == library.get_vocab()


def test_wordpiece_makes_words_of_pieces():
    tokenizer = train.train([corpus()], algorithm="wordpiece", vocab_size=300)
    tokens = [tokenizer.token(i) for i in tokenizer.encode("Shells SHE sells")]
    assert tokens[0].startswith("sh")
    assert all(token.startswith("##") for token in tokens[1 : tokens.index("she")])
    assert tokenizer.decode(tokenizer.encode("the Fox")) == "the fox"
    assert tokenizer.encode("☃") == [tokenizer.unk_id]
    cased = train.train([corpus()], algorithm="wordpiece", vocab_size=300, lowercase=False)
    assert cased.encode("SHE") == [cased.unk_id]


def test_wordpiece_vocabulary_equals_that_of_the_library_up_to_order():
    text = corpus().lower()
    library = Library(models.WordPiece(unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=250, show_progress=False, special_tokens=["[UNK]"])
    library.train_from_iterator([text], trainer)
    theirs, ours = set(library.get_vocab()), train.train([text], algorithm="wordpiece", vocab_size=254).backend
    # The library breaks ties between equally frequent pairs by hash order, so the last few may differ.
    assert len(theirs ^ set(ours.get_vocab())) <= 24


def test_unigram_prefers_whole_frequent_words():
    tokenizer = train.train([corpus()], algorithm="unigram", vocab_size=200)
    assert [tokenizer.token(i) for i in tokenizer.encode("the quick fox")] == ["▁the", "▁quick", "▁fox"]
    assert tokenizer.decode(tokenizer.encode("sea  shells")) == "sea shells"


def test_unigram_packs_text_at_least_as_tightly_as_the_librarys_trainer():
    text = corpus()
    library = Library(models.Unigram())
    library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    trainer = trainers.UnigramTrainer(vocab_size=150, show_progress=False, special_tokens=["<unk>"], unk_token="<unk>")
    library.train_from_iterator([text], trainer)
    ours = train.train([text], algorithm="unigram", vocab_size=153)
    assert len(ours.encode(text)) <= 1.02 * len(library.encode(text).ids)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_text_gives_the_same_bytes_in_any_process_with_any_number_of_threads(algorithm, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom llmkit.tokenization.train import train\n"
        f"print(train([Path(sys.argv[1])], algorithm={algorithm!r}, vocab_size=400).sha256)"
    )
    path = tmp_path / "corpus.txt"
    path.write_text(corpus(1500), encoding="utf-8")
    digests = set()
    for threads, seed in (("1", "1"), ("2", "2"), ("4", "random")):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "OMP_NUM_THREADS": threads, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, env=environment, check=True
        )
        digests.add(run.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_how_the_text_is_handed_over_does_not_matter(algorithm, tmp_path):
    text = corpus(1500) * 12  # longer than one slice
    path = tmp_path / "corpus.txt"
    path.write_text(text, encoding="utf-8")
    whole = train.train([text], algorithm=algorithm, vocab_size=400)
    assert train.train([path], algorithm=algorithm, vocab_size=400).sha256 == whole.sha256


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_small_text_gives_a_small_vocabulary_and_no_error(algorithm):
    tokenizer = train.train(["to be or not to be"], algorithm=algorithm, vocab_size=50_000)
    assert tokenizer.vocab_size < 300
    assert tokenizer.decode(tokenizer.encode("to be")) == "to be"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_vocabulary_is_never_larger_than_asked(algorithm):
    assert train.train([corpus()], algorithm=algorithm, vocab_size=280).vocab_size <= 280


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_no_text_is_refused(algorithm, texts):
    with pytest.raises(InputRefused, match="no text"):
        train.train(texts, algorithm=algorithm)


@pytest.mark.parametrize("algorithm", ["wordpiece", "unigram"])
def test_white_space_alone_is_refused_where_words_are_needed(algorithm):
    with pytest.raises(InputRefused, match="no words"):
        train.train([" \n "], algorithm=algorithm)


def test_impossible_requests_are_refused_with_a_hint():
    with pytest.raises(UsageError, match="no algorithm 'wordpeice'") as caught:
        train.train(["x"], algorithm="wordpeice")
    assert "wordpiece" in caught.value.hint
    with pytest.raises(UsageError, match="no room for 256 single symbols and 2 special tokens") as caught:
        train.train(["x"], vocab_size=200)
    assert "258" in caught.value.hint
    with pytest.raises(UsageError, match="vocab_size is 0"):
        train.train(["x"], vocab_size=0)
    with pytest.raises(StorageError, match="no such file"):
        train.train([Path("/nowhere/at/all")])


def test_further_special_tokens_get_ids_and_roles():
    tokenizer = train.train(["some text"], vocab_size=300, extra_special=["[MASK]", "[CLS]", "[SEP]", "<|user|>"])
    assert tokenizer.special_ids == {0, 1, 2, 3, 4, 5}
    assert [tokenizer.mask_id, tokenizer.cls_id, tokenizer.sep_id] == [2, 3, 4]
    assert tokenizer.encode("<|user|>") == [5]


def test_merges_never_span_words_but_do_span_line_ends():
    tokenizer = train.train(["a b\n\n" * 50 + "z"], vocab_size=300)
    tokens = set(tokenizer.backend.get_vocab())
    assert "ĊĊ" in tokens or "Ċ" in tokens
    assert not any("aĠ" in token for token in tokens)


def test_text_without_spaces_does_not_blow_up():
    text = "".join(chr(97 + (i * i + i // 7) % 26) for i in range(400_000))
    tokenizer = train.train([text], vocab_size=300)
    assert tokenizer.decode(tokenizer.encode(text[:1000])) == text[:1000]


def test_a_full_table_drops_the_rarest_pieces(monkeypatch):
    monkeypatch.setattr(counting, "MAX_PIECES", 100)
    text = " ".join(["often"] * 500 + [f"rare{i}" for i in range(5000)])
    counts = counting.count_pieces([text[i : i + 1000] for i in range(0, len(text), 1000)])
    assert len(counts) <= 400
    assert counts[" often"] > 400
