"""`llmkit pretrain` and `generate` for models of two stacks, from a recipe to text, here and in transformers."""

import json
import shutil

import pytest

RECIPE = """
name: tiny
model: {{family: {family}, d_model: 16, n_layers: 1, n_heads: 2, d_ff: 32, max_seq_len: 64, init_std: {std}}}
tokenizer: {{algorithm: {algorithm}, vocab_size: 600}}
data: {{train: stories, stories: 30, validation_fraction: 0.1{data}}}
objective: {{name: {objective}}}
train:
  {{steps: 4, batch_size: 4, seq_len: 32, lr: 1.0e-3, log_every: 1, eval_every: 2, eval_batches: 2, save_every: 2,
   sample_every: 2, threads: 1, device: cpu}}
"""
RECIPES = {
    "transformer": ("marian", "bpe", "seq2seq", ", pair: mirror", 0.5),
    "t5": ("t5", "unigram", "span_corruption", "", 2.0),
    "switch": ("switch_transformers", "unigram", "span_corruption", "", 2.0),
    "bart": ("bart", "bpe", "denoising", "", 0.5),
    "pegasus": ("pegasus", "unigram", "gap_sentences", "", 0.5),
    "prophetnet": ("prophetnet", "wordpiece", "future_ngram", "", 0.5),
}
SKILL = {
    "transformer": "bleu",
    "t5": "spans_restored",
    "switch": "spans_restored",
    "bart": "sentences_restored",
    "pegasus": "rouge_1",
    "prophetnet": "spans_restored",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def written(place, name):
    family, algorithm, objective, data, std = RECIPES[name]
    text = RECIPE.format(family=family, algorithm=algorithm, objective=objective, data=data, std=std)
    (place / "tiny.yaml").write_text(text)
    return "tiny.yaml"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_becomes_a_model_that_writes_the_same_in_transformers(name, llmkit, place):
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    done = llmkit("pretrain", written(place, name), "--store", "runs")
    assert done.code == 0, done.err
    records = [json.loads(line) for line in (place / "runs" / "tiny" / "metrics.jsonl").read_text().splitlines()]
    assert {SKILL[name], "accuracy"} <= next(r for r in records if r["event"] == "eval").keys()
    assert [r["event"] for r in records].count("sample") == 2
    prompt = "Tom lost his kite."
    said = llmkit(
        "generate", "--store", "runs", "--prompt", prompt, "--temperature", "0", "--max-tokens", "8", "--json"
    )
    assert said.code == 0, said.err
    directory = place / "runs" / "tiny" / "step-000004"
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModelForSeq2SeqLM.from_pretrained(directory)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        theirs = model.eval().generate(ids, max_new_tokens=8, do_sample=False, num_beams=1)[0]
    found = json.loads(said.out)
    assert found["text"].strip() == tokenizer.decode(theirs, skip_special_tokens=True).strip()


@pytest.mark.parametrize("name", ["transformer", "t5"])
def test_a_run_goes_on_from_its_files_to_the_same_end(name, llmkit, place):
    recipe, end = written(place, name), place / "runs" / "tiny" / "step-000004"
    assert llmkit("pretrain", recipe, "--store", "runs").code == 0
    whole = {file: (end / file).read_bytes() for file in ("model.safetensors", "state.safetensors")}
    shutil.rmtree(end)
    assert llmkit("pretrain", recipe, "--store", "runs").code == 0
    assert whole == {file: (end / file).read_bytes() for file in whole}


@pytest.mark.parametrize("name", RECIPES)
def test_a_plan_and_a_preview_need_no_run(name, llmkit, place):
    recipe = written(place, name)
    assert llmkit("pretrain", recipe, "--store", "runs", "--dry-run").code == 0
    preview = llmkit("pretrain", recipe, "--store", "runs", "--preview", "2")
    assert preview.code == 0, preview.err
    lanes = {line.split("\t")[1] for line in preview.out.decode().splitlines()}
    assert lanes == {"text", "input", "target"}
    assert not (place / "runs").exists()


def test_pairs_of_two_files_are_cut_to_the_room_there_is_and_it_is_said(llmkit, place):
    (place / "a.txt").write_text("".join(f"the {i} red kites and {i} more\n" for i in range(60)))
    (place / "b.txt").write_text("".join(f"{i} kites\n" for i in range(60)))
    flags = ["data.train=a.txt", "data.target=b.txt", "data.pair=null", "train.seq_len=8", "tokenizer.vocab_size=300"]
    sets = [word for flag in flags for word in ("--set", flag)]
    done = llmkit("pretrain", written(place, "transformer"), "--store", "runs", *sets)
    assert done.code == 0, done.err
    assert "sides of pairs are longer than train.seq_len and were cut" in done.err
