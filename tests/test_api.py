"""`llmkit.load` and what it returns."""

import json
import shutil
import subprocess
import sys

import pytest
import torch

import llmkit
from llmkit.checkpoint.hf_layout import write_model
from llmkit.checkpoint.manifest import verify
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import InputRefused, StorageError, UsageError
from llmkit.models.registry import load_family


def a_tokenizer(vocab_size=280):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["the cat sat on the mat, and the dog sat on the log"] * 3, trainer)
    return tokenizer


def a_model(name="gpt2", **settings):
    torch.manual_seed(0)
    family = load_family(name)
    sizes = {"vocab_size": 280, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 32, "bos_id": 0}
    return family.build(family.config_class(**sizes | {"head": next(iter(family.heads))} | settings)).eval()


def save(store, name, *steps, model=None, tokenizer=True):
    model = model or a_model()

    def write(directory):
        write_model(directory, model)
        if tokenizer:
            (directory / "tokenizer.json").write_text(a_tokenizer().to_str())

    run = RunDirectory(store / name)
    with run.lock():
        for step in steps:
            run.save(step, write, meta={})
    return model


@pytest.fixture
def store(tmp_path):
    save(tmp_path / "runs", "gpt", 1, 2)
    return tmp_path / "runs"


def test_a_name_loads_model_tokenizer_config_and_path(store):
    loaded = llmkit.load("gpt", store=store)
    ids = torch.tensor([loaded.tokenizer.encode("the cat sat")])
    output = loaded.model(ids)
    assert output.logits.shape == (1, ids.shape[1], 280)
    assert output.hidden.shape == (1, ids.shape[1], 32)
    assert torch.equal(output.logits.cpu(), a_model()(ids).logits) or loaded.model.embedding_weight.is_cuda
    assert loaded.config.n_layers == 2
    assert loaded.path == store / "gpt" / "step-000002"
    assert not loaded.model.training


def test_a_model_is_called_with_every_argument_of_the_contract(store):
    model = llmkit.load("gpt", store=store).model
    ids = torch.tensor([[5, 6, 7]])
    output = model(ids, attention_mask=None, token_type_ids=None, decoder_input_ids=None)
    assert torch.equal(output.logits, model(ids).logits)
    with pytest.raises(UsageError, match="decoder_input_ids"):
        model(ids, decoder_input_ids=ids)


def test_paths_steps_stores_and_dtypes(store, monkeypatch):
    assert llmkit.load("gpt@1", store=str(store)).path.name == "step-000001"
    assert llmkit.load(store / "gpt" / "step-000001").path.name == "step-000001"
    monkeypatch.setenv("LLMKIT_STORE", str(store))
    assert llmkit.load("gpt", dtype="bfloat16").model.embedding_weight.dtype == torch.bfloat16
    monkeypatch.chdir(store)
    with pytest.raises(StorageError):
        llmkit.load(store.__class__("nowhere"))  # a Path is a path, also when it looks like a name
    with pytest.raises(UsageError, match="no device"):
        llmkit.load("gpt", device="abacus")


def test_generate_yields_text_that_depends_on_the_seed_alone(store):
    loaded = llmkit.load("gpt", store=store)
    texts = ["".join(loaded.generate("the cat", max_tokens=8, seed=seed, temperature=1.0)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_an_encoder_says_that_it_cannot_generate(store):
    save(store, "bert", 1, model=a_model("bert"))
    with pytest.raises(UsageError, match="cannot continue text"):
        llmkit.load("bert", store=store).generate("x")


def test_save_writes_a_directory_that_loads_again_and_that_transformers_opens(store, tmp_path):
    import transformers

    loaded = llmkit.load("gpt", store=store, device="cpu")
    path = loaded.save(tmp_path / "deep" / "copy")
    assert verify(path).step is None
    again = llmkit.load(str(path), device="cpu")
    ids = torch.tensor([again.tokenizer.encode("the dog sat")])
    assert torch.equal(again.model(ids).logits, loaded.model(ids).logits)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    assert torch.allclose(theirs(ids).logits, loaded.model(ids).logits, atol=1e-5)
    reader = transformers.AutoTokenizer.from_pretrained(path)
    assert reader("the dog sat", add_special_tokens=False)["input_ids"] == ids[0].tolist()
    assert [p.name for p in path.parent.iterdir()] == ["copy"]


def test_save_takes_an_empty_directory_and_replaces_nothing(store, tmp_path):
    loaded = llmkit.load("gpt", store=store)
    (tmp_path / "empty").mkdir()
    loaded.save(tmp_path / "empty")
    for name in ("empty", "file", "link"):
        if name == "file":
            (tmp_path / name).write_text("")
        elif name == "link":
            (tmp_path / name).symlink_to("nowhere")
        with pytest.raises(UsageError, match="not an empty directory"):
            loaded.save(tmp_path / name)
    with pytest.raises(StorageError):
        loaded.save(tmp_path / "file" / "below")


def test_a_model_without_tokenizer_loads_and_says_so_when_one_is_needed(store):
    save(store, "bare", 1, tokenizer=False)
    loaded = llmkit.load("bare", store=store)
    with pytest.raises(InputRefused, match="no tokenizer"):
        loaded.generate("x")


def test_a_tokenizer_that_is_too_large_for_the_model_is_refused(store):
    save(store, "small", 1, model=a_model(vocab_size=200))
    with pytest.raises(InputRefused, match=r"\d+ tokens.*room for 200"):
        llmkit.load("small", store=store)


def test_damage_is_refused_and_can_be_overruled(store):
    path = store / "gpt" / "step-000002" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputRefused, match="does not match its manifest"):
        llmkit.load("gpt", store=store)
    llmkit.load("gpt", store=store, verify=False)
    tokenizer = path.with_name("tokenizer.json")
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()), indent=1))
    with pytest.raises(InputRefused, match=r"tokenizer\.json") as refusal:
        llmkit.load("gpt", store=store)
    assert refusal.value.hint == "step 1 is whole: gpt@1"


def test_a_step_pruned_while_it_was_loaded_is_read_anew_under_its_name(store, monkeypatch):
    from llmkit import api

    real = api._load

    def prune_first(path, *rest):
        if path.name == "step-000002":
            save(store, "gpt", 3)
            shutil.rmtree(path)
        return real(path, *rest)

    monkeypatch.setattr(api, "_load", prune_first)
    assert llmkit.load("gpt", store=store).path.name == "step-000003"
    monkeypatch.undo()
    with pytest.raises(UsageError):
        llmkit.load("gpt@2", store=store)


def test_export_compares_logits_and_leaves_training_state_out(store, tmp_path):
    from llmkit.api import export

    assert export("gpt", tmp_path / "same", store=store) == 0.0
    assert 0 < export("gpt", tmp_path / "half", store=store, dtype="bfloat16") < 0.1
    assert sorted(p.name for p in (tmp_path / "same").iterdir()) == [
        "config.json", "generation_config.json", "manifest.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip


def test_export_of_weights_that_are_not_finite_is_no_bug(store, tmp_path):
    import math

    from llmkit.api import export

    loaded = llmkit.load("gpt", store=store)
    with torch.no_grad():
        next(loaded.model.parameters()).fill_(math.nan)
    loaded.save(tmp_path / "broken")
    assert math.isnan(export(tmp_path / "broken", tmp_path / "copy", store=store))


def test_import_costs_no_torch_and_load_is_found_lazily():
    code = "import sys, llmkit, llmkit.api; assert 'torch' not in sys.modules; assert callable(llmkit.load)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_generating_lays_weights_out_for_decoding_but_not_those_of_a_model_in_training(store, tmp_path):
    loaded = llmkit.load("gpt", store=store)
    loaded.model.train()
    text = "".join(loaded.generate("the", max_tokens=4, temperature=0.0))
    assert loaded.model.embedding_weight.is_contiguous()
    loaded.model.eval()
    assert "".join(loaded.generate("the", max_tokens=4, temperature=0.0)) == text
    assert not loaded.model.embedding_weight.is_contiguous()
    saved = loaded.save(tmp_path / "saved")
    stored = RunDirectory(store / "gpt").checkpoints()[-1].path
    assert (saved / "model.safetensors").read_bytes() == (stored / "model.safetensors").read_bytes()


def test_what_a_model_says_on_sampling_is_followed_and_saved_with_it(store, tmp_path):
    import json

    model = llmkit.load("gpt", store=store)
    model.save(tmp_path / "plain")
    asked = {"do_sample": False, "max_new_tokens": 4}
    own = json.loads((tmp_path / "plain" / "generation_config.json").read_text())
    (tmp_path / "plain" / "manifest.json").unlink()
    (tmp_path / "plain" / "generation_config.json").write_text(json.dumps({**own, **asked}))
    foreign = llmkit.load(tmp_path / "plain")
    assert [*foreign.generate("the")] == [*model.generate("the", temperature=0, max_tokens=4)]
    assert [*foreign.generate("the", max_tokens=2)] == [*model.generate("the", temperature=0, max_tokens=2)]
    saved = json.loads((foreign.save(tmp_path / "again") / "generation_config.json").read_text())
    assert {key: saved.pop(key) for key in asked} == asked
    assert saved == {key: value for key, value in own.items() if key != "_from_model_config"}


def test_a_loaded_model_shows_itself_in_one_line(store):
    shown = repr(llmkit.load("gpt", store=store))
    assert "\n" not in shown
    assert shown.startswith("<GPT-2 (causal_lm), ")
    assert shown.endswith(f"parameters, {store / 'gpt' / 'step-000002'}>")


def test_an_error_in_python_says_how_to_mend_it(store):
    with pytest.raises(UsageError, match="fix: did you mean 'gpt'") as caught:
        llmkit.load("gtp", store=store)
    assert str(caught.value).startswith(caught.value.message)
    assert str(InputRefused("no more")) == "no more"
