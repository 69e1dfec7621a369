import json
import re

import pytest

from llmkit.data.mirror import mirrored
from llmkit.data.stories import MOODS, story
from llmkit.errors import InputRefused, UsageError
from llmkit.recipe.load import parse_recipe
from llmkit.training.labelled import read_tables
from llmkit.training.prepare import prepare

FAMILY = {"causal": "gpt2", "control": "ctrl", "seq2seq": "marian", "masked": "bert"}


def prepared(tmp_path, objective, *overrides, said=None):
    text = f"""
model: {{family: {FAMILY[objective]}, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 32}}
tokenizer: {{vocab_size: 400}}
data: {{stories: 40}}
objective: {{name: {objective}}}
train: {{seq_len: 16}}
"""
    recipe = parse_recipe(text, "test.yaml", overrides)
    return prepare(recipe, tmp_path / "runs", tmp_path / "cache", say=(said if said is not None else []).append)


def decoded(made, corpus, i):
    return made.tokenizer.decode(corpus.document(i), skip_special=True)


def test_stories_in_mirrorish_are_pairs_with_one_tokenizer(tmp_path):
    made = prepared(tmp_path, "seq2seq", "data.pair=mirror", "data.validation_fraction=0.2")
    for corpus in (made.train, made.validation):
        assert corpus.n_documents == corpus.target.n_documents > 20
        for i in range(20):
            assert mirrored(decoded(made, corpus, i)) == decoded(made, corpus.target, i)
            assert corpus.document(i)[-1] == corpus.target.document(i)[-1] == made.tokenizer.eos_id


def test_two_files_are_pairs_and_validation_may_be_two_more(tmp_path):
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).write_text("".join(f"{name} line {i}\n" for i in range(20)))
    names = [f"data.{key}={tmp_path / name}" for key, name in
             (("train", "a"), ("target", "b"), ("validation", "c"), ("validation_target", "d"))]  # fmt: skip
    made = prepared(tmp_path, "seq2seq", *names)
    assert decoded(made, made.train, 7) == "a line 7"
    assert decoded(made, made.train.target, 7) == "b line 7"
    assert decoded(made, made.validation.target, 7) == "d line 7"


def test_coded_documents_begin_with_the_special_token_of_their_mood(tmp_path):
    made = prepared(tmp_path, "control")
    codes = {made.tokenizer.id(f"<|{mood}|>"): mood for mood in MOODS}
    assert set(made.train.codes) == set(MOODS)
    assert set(codes) <= made.tokenizer.special_ids
    assert [codes[made.train.document(i)[0]] for i in range(40)] == [story(0, i).mood for i in range(40)]


def test_a_code_that_only_the_validation_text_has_is_refused(tmp_path):
    for name, label in (("a", "good"), ("b", "bad")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": "some words", "label": label}) + "\n")
    with pytest.raises(InputRefused, match="the code 'bad', which the training data lack"):
        prepared(tmp_path, "control", f"data.train={tmp_path}/a.jsonl", f"data.validation={tmp_path}/b.jsonl")


def test_weights_are_given_beside_the_list_of_sources(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "number {i}"}}\n' for i in range(50)))
    said = []
    train = f"data.train=[stories, {tmp_path}/a.jsonl]"
    made = prepared(tmp_path, "causal", train, "data.weights=[1, 3]", "data.validation_fraction=0", said=said)
    assert made.train.n_documents == 40 + 3 * 50
    assert any("% of the tokens" in line for line in said)
    with pytest.raises(UsageError, match="1 weights"):
        prepared(tmp_path, "causal", train, "data.weights=[1]")


def test_the_other_side_of_pairs_is_refused_where_nobody_reads_it(tmp_path):
    with pytest.raises(UsageError, match=r"data.target makes pairs of texts"):
        prepared(tmp_path, "causal", "data.target=x.txt")


def test_from_much_text_the_tokenizer_is_learned_from_a_part_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr("llmkit.training.prepare.ENOUGH", 10_000)
    said = []
    prepared(tmp_path, "causal", "data.stories=100", said=said)
    assert any("spread over 100 built-in stories" in line for line in said)


def test_a_tokenizer_is_learned_once_for_the_same_text_and_settings(tmp_path):
    said = []
    first = prepared(tmp_path, "causal", said=said)
    again = prepared(tmp_path, "causal", said=said)
    assert first.tokenizer.to_json() == again.tokenizer.to_json()
    assert [line.startswith("learning") for line in said if "tokenizer" in line] == [True, False]
    assert again.tokenizer.eos_id == first.tokenizer.eos_id is not None
    for change in ("data.stories=41", "tokenizer.vocab_size=399", "tokenizer.algorithm=char", "data.seed=1"):
        said.clear()
        prepared(tmp_path, "causal", change, said=said)
        assert any(line.startswith("learning") for line in said)


def test_a_damaged_tokenizer_in_the_cache_is_learned_anew(tmp_path):
    first = prepared(tmp_path, "causal")
    victim = next((tmp_path / "cache").glob("tokenizer-*/tokenizer.json"))
    victim.write_text(victim.read_text().replace('"the"', '"teh"').replace('"Ġw"', '"wĠ"'))
    assert prepared(tmp_path, "causal").tokenizer.to_json() == first.tokenizer.to_json()


def test_it_is_said_what_the_validation_text_shares_and_what_becomes_of_long_text(tmp_path):
    rows = [f'{{"text": "document {i}. It has words."}}\n' for i in range(50)]
    (tmp_path / "a.jsonl").write_text("".join(rows))
    (tmp_path / "b.jsonl").write_text("".join(rows[:7]) + '{"text": "another one"}\n')
    said = []
    names = (f"data.train={tmp_path}/a.jsonl", f"data.validation={tmp_path}/b.jsonl")
    prepared(tmp_path, "causal", *names, "train.seq_len=4", said=said)
    assert "validation: 7 documents are also in the training text, word for word" in said
    assert "training: 50 of 50 documents are longer than an example of 4 tokens, and spread over several" in said
    said.clear()
    prepared(tmp_path, "masked", *names, "train.seq_len=4", said=said)
    assert any(re.search("sentences? (is|are) longer than an example of 4 tokens, and cut up", line) for line in said)


@pytest.mark.parametrize("key", ["target=x.tsv", "validation_target=x.tsv", "weights=[2]"])
def test_keys_for_pretraining_are_refused_where_one_table_is_read(key):
    recipe = parse_recipe("base: null\nobjective: {name: classify}\n", "t.yaml", [f"data.{key}"])
    with pytest.raises(UsageError, match=r"does nothing here: fine-tuning reads one table"):
        read_tables(recipe)


def test_a_mask_takes_the_space_along_that_the_hidden_word_brings_with_it(tmp_path):
    tokenizer = prepared(tmp_path, "masked", "tokenizer.algorithm=bpe").tokenizer
    ids = [tokenizer.encode(f"One day Tom lost{gap}[MASK], too") for gap in (" ", "")]
    before, after = tokenizer.encode("One day Tom lost"), tokenizer.encode(", too")
    assert ids == [[*before, tokenizer.mask_id, *after]] * 2


@pytest.mark.parametrize(
    ("objective", "key"),
    [("causal", "text"), ("masked", "label"), ("control", "text"), ("seq2seq", "field"), ("seq2seq", "label")],
)
def test_a_column_that_nobody_reads_is_refused(objective, key, tmp_path):
    with pytest.raises(UsageError, match=f"data.{key} is not read by {objective}"):
        prepared(tmp_path, objective, f"data.{key}=body", *(["data.pair=mirror"] if objective == "seq2seq" else []))
