"""`llmkit pretrain` with every objective of encoders: every family takes a few steps, and a run goes on bit for bit."""

import json
import shutil

import pytest

FAMILIES = {
    "albert": "d_embed: 8",
    "bert": "",
    "convbert": "kernel_size: 3",
    "distilbert": "",
    "electra": "d_embed: 8",
    "funnel": "n_decoder_layers: 1",
    "longformer": "attention_window: 4",
    "reformer": "head_dim: 8, axial: false, local_chunk: 8, hashed_chunk: 8",
    "roberta": "",
    "xlm": "n_languages: 2",
    "xlm_roberta": "",
}
RECIPE = """
name: tiny
model: {family: FAMILY, d_model: 16, n_layers: 2, n_heads: 2, max_seq_len: 32, FIELDS}
tokenizer: {algorithm: ALGORITHM, vocab_size: 300}
data: {train: stories, stories: 20, validation_fraction: 0.2, MORE}
objective: {name: NAME, SETTINGS}
train:
  {steps: STEPS, batch_size: 4, seq_len: 32, lr: 3.0e-3, optimizer: OPTIMIZER, log_every: 1, eval_every: 3,
   eval_batches: 2, save_every: 2, keep: 9, sample_every: 3, threads: 1, device: cpu}
"""


@pytest.fixture
def pretrain(llmkit, tmp_path, monkeypatch):
    """Train a tiny recipe in a store of its own; returns what the command said."""
    monkeypatch.chdir(tmp_path)

    def run(family="bert", objective="masked", settings="", *flags, fields="", more="", **others):
        values = {"ALGORITHM": "wordpiece", "STEPS": 3, "OPTIMIZER": "adamw", **others}
        values |= {"FAMILY": family, "NAME": objective, "SETTINGS": settings, "MORE": more}
        values["FIELDS"] = fields or FAMILIES.get(family, "")
        text = RECIPE
        for name, value in values.items():
            text = text.replace(name, str(value))
        (tmp_path / "tiny.yaml").write_text(text.replace(", }", "}"))
        return llmkit("pretrain", "tiny.yaml", "--store", "runs", *flags)

    return run


@pytest.fixture
def teacher(pretrain):
    """A run called teacher."""
    assert pretrain("bert", "masked", "", "--run", "teacher", fields="n_segments: 2").code == 0


def scores(place, run="tiny"):
    records = [json.loads(line) for line in (place / "runs" / run / "metrics.jsonl").read_text().splitlines()]
    return [r for r in records if r["event"] == "eval"][-1]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_encoder_fills_in_masks(family, pretrain, tmp_path):
    done = pretrain(family, "masked", "whole_words: true, static_masks: 2")
    assert done.code == 0, done.err
    assert "[MASK]" in done.err
    assert 0 <= scores(tmp_path)["masked_accuracy"] <= 1


@pytest.mark.parametrize("algorithm", ["wordpiece", "bpe", "unigram", "char"])
def test_whole_words_are_hidden_in_every_kind_of_vocabulary(algorithm, pretrain):
    done = pretrain("roberta", "masked", "whole_words: true", ALGORITHM=algorithm)
    assert done.code == 0, done.err


@pytest.mark.parametrize(("family", "pairs"), [("albert", "sentence_order"), ("bert", "next_sentence")])
def test_pairs_are_judged_beside_the_masks(family, pairs, pretrain, tmp_path):
    assert pretrain(family, "masked", f"{pairs}: true").code == 0
    assert 0 <= scores(tmp_path)[f"{pairs}_accuracy"] <= 1


def test_both_ways_to_judge_pairs_at_once_are_refused(pretrain):
    done = pretrain("albert", "masked", "sentence_order: true, next_sentence: true")
    assert done.code == 2
    assert "choose one of the two" in done.err


@pytest.mark.parametrize("family", ["electra", "funnel"])
def test_replaced_tokens_are_told_by_the_families_with_a_head_for_it(family, pretrain, tmp_path):
    done = pretrain(family, "replaced_token")
    assert done.code == 0, done.err
    assert "missed:" in done.err
    assert 0 <= scores(tmp_path)["replaced_f1"] <= 1


@pytest.mark.parametrize("family", ["distilbert", "albert", "roberta", "reformer"])
def test_students_of_any_family_of_encoders_learn_from_a_teacher(family, teacher, pretrain, tmp_path):
    done = pretrain(family, "distillation", "teacher: teacher")
    assert done.code == 0, done.err
    assert "the teacher:" in done.err
    assert 0 <= scores(tmp_path)["agreement"] <= 1
    # Its tokenizer is the teacher's.
    files = [next((tmp_path / "runs" / run).glob("step-*")) / "tokenizer.json" for run in ("teacher", "tiny")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_decoder_learns_from_a_decoder(pretrain, tmp_path):
    plain = {"fields": "tie_embeddings: true", "ALGORITHM": "bpe"}
    assert pretrain("gpt2", "causal", "", "--run", "teacher", **plain).code == 0
    done = pretrain("gpt2", "distillation", "teacher: teacher, from_teacher: true", **plain)
    assert done.code == 0, done.err
    assert scores(tmp_path)["agreement"] > 0.5  # a copy agrees at first


def test_students_of_another_width_are_told_that_hidden_states_are_not_compared(teacher, pretrain):
    done = pretrain("distilbert", "distillation", "teacher: teacher", "--set", "model.d_model=8")
    assert done.code == 0, done.err
    assert "hidden states are not compared: the student's are 8 wide, the teacher's 16" in done.err
    assert "hidden_loss" not in done.err


@pytest.mark.parametrize("family", FAMILIES)
def test_every_encoder_reads_a_text_and_its_translation(family, pretrain, tmp_path):
    done = pretrain(family, "translation_masked", "monolingual: 0.3", more="pair: mirror")
    assert done.code == 0, done.err
    assert "alone:" in done.err
    found = scores(tmp_path)
    assert found["gain"] == pytest.approx(found["masked_accuracy"] - found["alone_accuracy"])


# refusals


def test_a_teacher_that_is_not_there_yet_is_asked_for_with_the_command_that_trains_it(pretrain):
    done = pretrain("distilbert", "distillation", "teacher: bert-mini")
    assert done.code == 2
    assert "no model or tokenizer 'bert-mini' in runs" in done.err
    assert "train it first: llmkit pretrain bert-mini" in done.err


def test_distillation_without_a_teacher_is_refused(pretrain):
    done = pretrain("distilbert", "distillation")
    assert done.code == 2
    assert "objective.teacher" in done.err
    assert "nobody to learn from" in done.err


def test_a_teacher_with_another_tokenizer_is_refused(teacher, pretrain, tmp_path):
    assert pretrain("bert", "masked", "", "--run", "other", "--set", "tokenizer.vocab_size=200").code == 0
    done = pretrain("distilbert", "distillation", "teacher: teacher", "--set", "tokenizer.path=other")
    assert done.code == 4
    assert "the teacher teacher has another tokenizer" in done.err
    assert "leave out tokenizer.path" in done.err


# going on


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    ("family", "objective", "settings", "more"),
    [
        ("albert", "masked", "sentence_order: true, whole_words: true, static_masks: 2, long_share: 0.5", ""),
        ("electra", "replaced_token", "long_share: 0.5", ""),
        ("funnel", "replaced_token", "", ""),
        ("distilbert", "distillation", "teacher: teacher", ""),
        ("xlm", "translation_masked", "monolingual: 0.3", "pair: mirror"),
    ],
)
def test_a_run_that_goes_on_ends_as_one_that_never_stopped(
    family, objective, settings, more, optimizer, teacher, pretrain, tmp_path
):
    def train():
        flags = ("--set", "train.seq_len=16", "--set", "model.dropout=0.1")
        done = pretrain(family, objective, settings, *flags, more=more, STEPS=5, OPTIMIZER=optimizer)
        assert done.code == 0, done.err
        last = tmp_path / "runs" / "tiny" / "step-000005"
        files = [(last / name).read_bytes() for name in ("model.safetensors", "state.safetensors", "state.json")]
        return files, {k: v for k, v in scores(tmp_path).items() if k not in ("seconds", "time")}

    whole = train()
    for step in ("000004", "000005"):
        shutil.rmtree(tmp_path / "runs" / "tiny" / f"step-{step}")
    assert train() == whole


def test_a_run_does_not_go_on_with_another_teacher(teacher, pretrain, tmp_path):
    assert pretrain("distilbert", "distillation", "teacher: teacher", STEPS=3).code == 0
    shutil.rmtree(tmp_path / "runs" / "tiny" / "step-000003")
    shutil.rmtree(tmp_path / "runs" / "teacher")
    assert pretrain("bert", "masked", "", "--run", "teacher", "--set", "train.seed=1").code == 0
    done = pretrain("distilbert", "distillation", "teacher: teacher", STEPS=3)
    assert done.code == 4
    assert "the teacher is not the one that" in done.err
    again = pretrain("distilbert", "distillation", "teacher: teacher", "--allow-change", "objective.teacher", STEPS=3)
    assert again.code == 0, again.err
