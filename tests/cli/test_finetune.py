"""`llmkit finetune` as it is typed."""

import json
import random

import pytest

RECIPE = """
name: tiny
base: null
data: {train: train.tsv, validation: null, validation_fraction: 0.2}
objective: {name: classify}
train: {steps: 12, batch_size: 8, seq_len: 16, lr: 5.0e-3, log_every: 1, eval_every: 3, save_every: 4, keep: 1,
        threads: 1}
"""


def table(path, n, seed=0, text="sentence", label="label"):
    draw = random.Random(seed)
    rows = [f"{text}\t{label}"]
    for i in range(n):
        words = [draw.choice(["the", "cat", "dog", "sat"]) for _ in range(draw.randrange(1, 6))]
        words.insert(draw.randrange(len(words) + 1), ["red", "mat"][i % 2])
        rows.append(" ".join(words) + "\t" + ["bad", "good"][i % 2])
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    table(tmp_path / "train.tsv", 200)
    table(tmp_path / "test.tsv", 50, seed=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def finetune(llmkit, place, small_store):
    import torch

    from llmkit.checkpoint.hf_layout import read_model, write_model
    from llmkit.models.registry import load_family

    # The store's model has wild weights, for parity tests; one drawn as a new model is learns.
    torch.manual_seed(0)
    (place / "base").mkdir()
    write_model(place / "base", load_family("bert").build(read_model(small_store / "bert").config))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (place / "base" / file).write_bytes((small_store / "bert" / file).read_bytes())
    base = str(place / "base")
    command = ("--store", "runs", "--model", base)
    return lambda *flags, recipe="tiny.yaml", **how: llmkit("finetune", recipe, *command, *flags, **how)


def test_texts_and_labels_become_a_classifier_that_predict_uses(finetune, llmkit, place):
    done = finetune("--test", "test.tsv", "--set", "train.steps=60")
    assert done.code == 0, done.err
    assert done.out == b"runs/tiny\n"
    assert "validation: accuracy 100.00%" in done.err
    assert "test: accuracy 100.00%, macro F1 100.00% on 50 texts" in done.err
    assert "true \\ said" in done.err
    said = llmkit("predict", "classify", "--store", "runs", "--model", "tiny", stdin=b"the red cat\nmat\n")
    assert said.code == 0, said.err
    assert [line.split(b"\t")[0] for line in said.out.splitlines()] == [b"bad", b"good"]


def test_texts_that_are_cut_are_told_once_for_each_table(finetune, place):
    rows = "".join(f"{'a cat ' * 30}{i}\t{'good' if i % 2 else 'bad'}\n" for i in range(40))
    (place / "train.tsv").write_text("sentence\tlabel\n" + rows)
    told = finetune().err
    assert told.count("lose their end") == 2


def test_the_log_names_the_checkpoint_it_all_began_with(finetune, place):
    finetune("--set", "train.schedule=constant")
    finetune("--set", "train.schedule=constant", "--set", "train.steps=14")
    lines = [json.loads(line) for line in (place / "runs" / "tiny" / "metrics.jsonl").read_text().splitlines()]
    assert [line["model"] for line in lines if line["event"] == "start"] == [str(place / "base")] * 2


def test_json_holds_the_scores_and_the_confusion_table(finetune, place):
    done = finetune("--json", "--test", "test.tsv")
    result = json.loads(done.out.splitlines()[-1])
    assert [r["data"] for r in result["results"]] == ["validation", "test"]
    assert result["results"][1]["labels"] == ["bad", "good"]
    assert sum(map(sum, result["results"][1]["confusion"])) == 50


def scores(place, run="tiny"):
    lines = (place / "runs" / run / "metrics.jsonl").read_text().splitlines()
    return {r["step"]: r["accuracy"] for r in map(json.loads, lines) if r["event"] == "eval"}


def test_the_weights_kept_are_the_best_ones_and_resuming_goes_on_from_the_newest(finetune, place, monkeypatch):
    import llmkit
    from llmkit.training import trainer

    real, order = trainer.evaluate, iter([0.5, 0.9, 0.7, 0.6, 0.6, 0.6])

    def evaluate(objective, model, **more):
        found = real(objective, model, **more)
        weights.append(model.embedding_weight.detach().clone())
        return {**found, "accuracy": next(order)}

    weights = []
    monkeypatch.setattr(trainer, "evaluate", evaluate)
    constant = ("--set", "train.schedule=constant")
    done = finetune(*constant)
    assert "the weights kept are those of step 6" in done.err
    stored = llmkit.load("tiny", store=place / "runs").model.embedding_weight
    assert (stored == weights[1]).all()
    assert (stored != weights[3]).any()
    # The newest weights are in the training state: two more steps equal fourteen at once.
    order = iter([0.1] * 10)
    assert finetune(*constant, "--set", "train.steps=14").code == 0
    last = weights[-1]
    order = iter([0.1] * 10)
    assert finetune(*constant, "--set", "train.steps=14", "--run", "at-once").code == 0
    assert (weights[-1] == last).all()


def test_the_newest_encoder_of_the_store_is_the_base_and_classifiers_are_not(llmkit, place, small_store):
    from llmkit.checkpoint.refs import newest
    from llmkit.training.labelled import is_encoder

    assert newest(small_store, is_encoder) == small_store / "bert"
    empty = llmkit("finetune", "tiny.yaml", "--store", "nothing-here")
    assert empty.code == 2
    assert "llmkit pretrain bert-mini" in empty.err
    assert not list((place / "nothing-here").iterdir())


def test_columns_are_found_or_asked_for(finetune, place):
    table(place / "train.tsv", 40, text="words", label="mark")
    asked = finetune()
    assert asked.code == 2
    assert "which column holds the text? there is: words, mark" in asked.err
    assert finetune("--set", "data.text=words", "--set", "data.label=mark").code == 0


def test_a_table_can_come_from_stdin_and_resumes_with_the_same_one(finetune, place):
    data = (place / "train.tsv").read_bytes()
    from_stdin = ("--set", "data.train=-")
    done = finetune(*from_stdin, stdin=data)
    assert done.code == 0, done.err
    assert "training: stdin: " in done.err
    longer = (*from_stdin, "--set", "train.steps=14", "--allow-change", "train.steps")
    other = finetune(*longer, stdin=data.replace(b"cat", b"cow"))
    assert other.code == 4
    assert "the training text is not the one" in other.err
    assert finetune(*longer, stdin=data).code == 0


def test_stdin_is_read_for_one_purpose_only(finetune):
    for other in (("--test", "-"), ("--set", "data.validation=-")):
        refused = finetune("--set", "data.train=-", *other, stdin=b"text\tlabel\na\tb\n")
        assert refused.code == 2
        assert "is stdin, and so" in refused.err


def test_one_label_is_nothing_to_learn(finetune, place):
    (place / "train.tsv").write_text("sentence\tlabel\n" + "a cat\tgood\n" * 20)
    done = finetune()
    assert done.code == 4
    assert "one label only" in done.err


def test_texts_longer_than_the_model_reads_are_refused_by_the_recipe(finetune):
    done = finetune("--set", "train.seq_len=512")
    assert done.code == 2
    assert "--set train.seq_len=48" in done.err


def test_a_disk_without_room_for_the_checkpoints_is_told_before_the_first_step(finetune, place, monkeypatch):
    monkeypatch.setattr("llmkit.training.disk.free_bytes", lambda path: 1 << 20)
    refused = finetune()
    assert refused.code == 74
    assert "no room for what the run saves" in refused.err
    assert not (place / "runs" / "tiny").exists()


def test_held_out_rows_are_not_trained_on(place):
    from llmkit.data.labelled import read_table
    from llmkit.training.labelled import split_table

    whole = read_table("train.tsv")
    kept, held_out = split_table(whole, 0.3)
    assert len(kept) + len(held_out) == len(whole)
    assert not {row.text for row in kept.rows} & {row.text for row in held_out.rows}


def test_a_dry_run_of_finetuning_leaves_nothing(finetune, place):
    done = finetune("--dry-run", "--json", "--run", "other")
    plan = json.loads(done.out)
    assert (plan["steps"], plan["run"]) == (12, "other")
    assert not (place / "runs").exists()
