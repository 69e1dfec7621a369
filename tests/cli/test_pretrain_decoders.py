"""Every decoder family trains from the command line, with each objective that is for it."""

import shutil

import pytest

RECIPE = """
name: tiny
model: {family: FAMILY, d_model: 16, n_layers: 1, n_heads: 2, max_seq_len: 16MORE}
tokenizer: {algorithm: ALGORITHM, vocab_size: 300}
data: {train: stories, stories: 30, validation_fraction: 0.1}
objective: {name: OBJECTIVE}
train:
  {steps: 3, batch_size: 2, seq_len: 16, accumulate: 2, lr: 3.0e-3, log_every: 1, eval_every: 3, eval_batches: 2,
   save_every: 1, keep: 9, sample_every: 3, threads: 1, device: cpu}
"""
MORE = {"mixtral": ", n_experts: 4", "reformer": ", local_chunk: 4, hashed_chunk: 4, n_buckets: [2]"}
DECODERS = (
    "bloom", "ctrl", "falcon", "gemma", "gpt2", "gpt_neox", "llama", "mistral", "mixtral", "openai_gpt", "opt",
    "reformer", "transformer_xl",
)  # fmt: skip


@pytest.fixture
def pretrain(llmkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(family, objective="causal", *flags, run="tiny"):
        algorithm = "unigram" if objective == "permutation" else "bpe"
        text = RECIPE.replace("FAMILY", family).replace("MORE", MORE.get(family, "")).replace("OBJECTIVE", objective)
        (tmp_path / "tiny.yaml").write_text(text.replace("ALGORITHM", algorithm))
        return llmkit("pretrain", "tiny.yaml", "--store", "runs", "--run", run, *flags)

    return run


@pytest.mark.parametrize("family", DECODERS)
def test_every_decoder_learns_from_running_text(family, pretrain):
    done = pretrain(family)
    assert done.code == 0, done.err
    assert "step=3 loss=" in done.err
    assert "bits_per_byte=" in done.err
    assert ("busiest_expert=" in done.err) == (family == "mixtral")


CASES = [("prefix", "gpt2"), ("control", "ctrl"), ("control", "llama"), ("recurrent", "transformer_xl"),
         ("permutation", "xlnet")]  # fmt: skip
SKILL = {
    "prefix": "loss_from_left=",
    "control": "code_accuracy=",
    "recurrent": "loss_without_memory=",
    "permutation": "guess_accuracy=",
}


@pytest.mark.parametrize(("objective", "family"), CASES)
def test_a_run_says_its_skill_and_goes_on_from_its_files_to_the_same_end(objective, family, pretrain, tmp_path):
    done = pretrain(family, objective)
    assert done.code == 0, done.err
    assert SKILL[objective] in done.err
    assert "step=3 sample " in done.err
    whole = tmp_path / "runs" / "tiny"
    names = ("model.safetensors", "state.safetensors", "state.json")
    before = [(whole / "step-000003" / name).read_bytes() for name in names]
    for step in ("step-000002", "step-000003"):
        shutil.rmtree(whole / step)
    again = pretrain(family, objective)
    assert "resume step=1" in again.err
    assert [(whole / "step-000003" / name).read_bytes() for name in names] == before


@pytest.mark.parametrize("name", ["prefix", "control", "recurrent", "permutation", "mixtral"])
def test_a_plan_can_be_made(name, llmkit, tmp_path):
    recipe = {"prefix": "prefix", "control": "ctrl", "recurrent": "transformer-xl", "permutation": "xlnet"}
    small = ["model.d_model=16", "model.n_layers=1", "train.batch_size=2", "model.n_heads=2", "train.threads=1"]
    if name in ("prefix", "mixtral"):
        small.append("model.n_kv_heads=1")
    flags = [flag for value in small for flag in ("--set", value)]
    done = llmkit("pretrain", f"{recipe.get(name, name)}-mini", "--dry-run", "--store", str(tmp_path), *flags)
    assert done.code == 0, done.err


def test_a_story_is_written_to_order(pretrain, llmkit):
    pretrain("ctrl", "control")
    done = llmkit("generate", "--store", "runs", "--prompt", "<|happy|>", "--max-tokens", "5")
    assert done.code == 0, done.err
    assert len(done.out) > 2


def test_a_model_without_memory_is_refused_for_it_by_name(pretrain):
    done = pretrain("gpt2", "recurrent")
    assert done.code == 2
    assert "needs a model with a memory; gpt2 is not one" in done.err


@pytest.mark.parametrize("family", ["reformer", "transformer_xl"])
def test_documents_cannot_be_kept_apart_by_every_attention(family, pretrain):
    done = pretrain(family, "causal", "--set", "objective.across_documents=false")
    assert done.code == 2
    assert f"{family} cannot keep documents apart" in done.err
