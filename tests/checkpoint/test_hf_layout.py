"""Model directories: ours open in transformers, theirs open here, and what does not match is refused."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from llmkit.checkpoint.hf_layout import read_model, read_model_config, write_model
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import InputRefused, LlmkitError, UsageError
from llmkit.models.config import LABELLED, EncoderDecoderConfig
from llmkit.models.registry import family_names, family_of, load_family
from llmkit.weights.convert import stored_names

SIZES = {"vocab_size": 97, "d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 40}
END = 5  # ends every text: what some encoder-decoders classify by


def build(name, seed=1, **settings):
    torch.manual_seed(seed)
    family = load_family(name)
    asked = {"head": next(iter(family.heads))}
    if issubclass(family.config_class, EncoderDecoderConfig):
        asked |= {"eos_id": END, "pad_id": 0, "decoder_start_id": END}
    return family.build(family.config_class(**{**SIZES, **asked, **settings})).eval()


def written(directory, model, **options):
    directory.mkdir(parents=True)
    write_model(directory, model, **options)
    return directory


def rules_of(model):
    return family_of(model.config).weight_rules(model.config)


def logits(model):
    ids = torch.arange(14).reshape(2, 7) * 5 % 97
    ids[:, -1] = END
    with torch.no_grad():
        return model(ids, decoder_input_ids=ids if hasattr(model, "decoder") else None).logits


@pytest.fixture
def gpt2(tmp_path):
    return written(tmp_path / "gpt2", build("gpt2"))


def change(directory, **tensors):
    """Rewrite the weights: a tensor of None is dropped."""
    path = directory / "model.safetensors"
    stored = load_file(path) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    path.unlink()
    save_file({name: t.contiguous() for name, t in stored.items() if t is not None}, path, {"format": "pt"})


def configure(directory, **settings):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


@pytest.mark.parametrize("shard_bytes", [10**9, 9000])
@pytest.mark.parametrize("name", family_names())
def test_a_model_comes_back_bit_for_bit(name, shard_bytes, tmp_path):
    model = build(name)
    directory = written(tmp_path / "m", model, max_shard_bytes=shard_bytes)
    assert (len(list(directory.glob("*.safetensors"))) > 3) == (shard_bytes == 9000)
    again = read_model(directory)
    to_hf = load_family(name).config_to_hf
    assert to_hf(again.config) == to_hf(model.config)
    assert not again.training
    for (ours, a), (theirs, b) in zip(model.state_dict().items(), again.state_dict().items(), strict=True):
        assert ours == theirs
        assert torch.equal(a, b)
    assert torch.equal(logits(model), logits(again))


def a_tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat sat on the mat, and the dog sat on the log"] * 3, trainer)
    return tokenizer


@pytest.mark.parametrize("shard_bytes", [10**9, 9000])
@pytest.mark.parametrize(
    ("name", "auto"),
    [("gpt2", "AutoModelForCausalLM"), ("llama", "AutoModelForCausalLM"), ("bert", "AutoModelForMaskedLM")],
)
def test_transformers_opens_what_we_write_with_the_tokenizer(name, auto, shard_bytes, tmp_path):
    import transformers

    text = "the dog sat on the cat"
    tokenizer = a_tokenizer()
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    model = build(name, vocab_size=tokenizer.get_vocab_size(), head="masked_lm" if name == "bert" else "causal_lm")
    directory = written(tmp_path / "m", model, tokenizer=tmp_path / "tokenizer.json", max_shard_bytes=shard_bytes)
    theirs = getattr(transformers, auto).from_pretrained(directory).eval()
    reader = transformers.AutoTokenizer.from_pretrained(directory)
    ids = torch.tensor([tokenizer.encode(text).ids])
    assert reader(text, add_special_tokens=False)["input_ids"] == ids[0].tolist()
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, model(ids).logits, atol=1e-5)
    theirs.save_pretrained(tmp_path / "back")
    with torch.no_grad():
        assert torch.equal(read_model(tmp_path / "back")(ids).logits, model(ids).logits)


def test_stored_dtype_is_kept_and_another_can_be_asked_for(tmp_path):
    directory = written(tmp_path / "half", build("llama").to(torch.bfloat16))
    assert json.loads((directory / "config.json").read_text())["dtype"] == "bfloat16"
    assert {p.dtype for p in read_model(directory).parameters()} == {torch.bfloat16}
    assert {p.dtype for p in read_model(directory, dtype="float32").parameters()} == {torch.float32}
    assert {p.dtype for p in read_model(directory, dtype=torch.float16).parameters()} == {torch.float16}
    with pytest.raises(UsageError, match="int8"):
        read_model(directory, dtype="int8")


def test_mixed_stored_dtypes_become_the_widest(gpt2):
    change(gpt2, transformer__wpe__weight=load_file(gpt2 / "model.safetensors")["transformer.wpe.weight"].half())
    assert {p.dtype for p in read_model(gpt2).parameters()} == {torch.float32}


# --- S3: what does not match --------------------------------------------------------------------------------------


def test_a_missing_tensor_is_refused_by_name(gpt2):
    change(gpt2, transformer__h__1__ln_1__weight=None)
    with pytest.raises(InputRefused, match=r"gpt2.*lacks tensor 'transformer\.h\.1\.ln_1\.weight'"):
        read_model(gpt2)


def test_an_extra_tensor_is_refused_by_name(gpt2):
    change(gpt2, surprise=torch.ones(2))
    with pytest.raises(InputRefused, match="'surprise'"):
        read_model(gpt2)


def test_a_transposed_tensor_is_refused_by_name(gpt2):
    change(gpt2, transformer__wte__weight=load_file(gpt2 / "model.safetensors")["transformer.wte.weight"].t())
    with pytest.raises(InputRefused, match=r"'transformer\.wte\.weight' is \(32, 97\)"):
        read_model(gpt2)


def test_integers_in_place_of_weights_are_refused(gpt2):
    change(gpt2, transformer__wte__weight=torch.ones(97, 32, dtype=torch.int64))
    with pytest.raises(InputRefused, match="not floats"):
        read_model(gpt2)


@pytest.mark.parametrize(
    "settings",
    [
        {"n_embd": 10**12},
        {"n_embd": 10**9},
        {"n_embd": 64},
        {"n_embd": 0},
        {"n_embd": "32"},
        {"n_embd": 32.5},
        {"n_embd": True},
        {"n_embd": [32]},
        {"n_layer": 10**7},
        {"n_layer": 1000},
        {"n_layer": 3},
        {"n_head": 0},
        {"n_head": -4},
        {"n_head": 5},
        {"vocab_size": -1},
        {"vocab_size": 2**30},
        {"vocab_size": 96},
        {"n_positions": 2**40},
        {"n_positions": 41},
        {"n_inner": 10**12},
        {"model_type": "gpt3"},
        {"model_type": "../../etc/passwd"},
        {"model_type": "os"},
        {"model_type": None},
        {"model_type": 5},
        {"architectures": ["GPT2DoubleHeadsModel"]},
        {"architectures": "GPT2LMHeadModel"},
        {"activation_function": "rm -rf"},
        {"layer_norm_epsilon": "tiny"},
        {"eos_token_id": {"a": 1}},
        {"quantization_config": {"bits": 4}},
        {"add_cross_attention": True},
    ],
    ids=str,
)
def test_hostile_config_is_refused_at_once_with_its_path(settings, gpt2):
    configure(gpt2, **settings)
    start = time.process_time()
    with pytest.raises(InputRefused) as refusal:
        read_model(gpt2)
    assert time.process_time() - start < 1
    assert str(gpt2) in refusal.value.message
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"model_type": "gpt2", "model_type": "bert"}', " " * 2_000_000, "\xff"]
)
def test_config_that_is_no_small_json_object_is_refused(text, gpt2):
    (gpt2 / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputRefused, match=r"config\.json"):
        read_model(gpt2)


def test_an_absurd_size_is_refused_without_importing_torch(gpt2):
    code = (
        "import sys\nfrom pathlib import Path\nfrom llmkit.checkpoint.config_json import read_model_config\n"
        "from llmkit.errors import InputRefused\n"
        "assert read_model_config(Path(sys.argv[1]))[1].d_model == 32\n"
        "config = Path(sys.argv[1], 'config.json')\n"
        "config.write_text(config.read_text().replace('\"n_embd\": 32', '\"n_embd\": 1000000000000'))\n"
        "try:\n    read_model_config(Path(sys.argv[1]))\n"
        "except InputRefused as error:\n    print(error.message)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(gpt2)], capture_output=True, text=True, timeout=60)
    assert "1000000000000" in done.stdout, done.stderr


def test_a_sparse_file_with_a_giant_tensor_is_refused_before_it_is_read(gpt2):
    path = gpt2 / "model.safetensors"
    header = {"transformer.wte.weight": {"dtype": "F32", "shape": [10**10], "data_offsets": [0, 4 * 10**10]}}
    for i, name in enumerate(sorted(load_file(path))):
        if name not in header:
            header[name] = {"dtype": "F32", "shape": [1], "data_offsets": [4 * 10**10 + 4 * i, 4 * 10**10 + 4 * i + 4]}
    end = 4 * 10**10
    for name in list(header)[1:]:
        header[name]["data_offsets"] = [end, end := end + 4]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + end)
    with pytest.raises(InputRefused, match=r"transformer\.wte\.weight.*nothing in the model"):
        read_model(gpt2)


def test_a_few_tensors_cannot_be_a_thousand_layers(gpt2):
    configure(gpt2, n_layer=1024)
    start = time.process_time()
    with pytest.raises(InputRefused, match="cannot be 1024 layers"):
        read_model(gpt2)
    assert time.process_time() - start < 0.5


def test_pickled_weights_are_one_clear_refusal(gpt2):
    (gpt2 / "model.safetensors").rename(gpt2 / "pytorch_model.bin")
    with pytest.raises(InputRefused, match="pickle"):
        read_model(gpt2)


# --- P3: digests --------------------------------------------------------------------------------------------------


@pytest.fixture
def step(tmp_path):
    def write(directory):
        write_model(directory, build("gpt2"))
        (directory / "state.safetensors").write_bytes(b"optimizer" * 50)
        (directory / "state.json").write_bytes(b"{}")

    run = RunDirectory(tmp_path / "runs" / "a")
    with run.lock():
        return run.save(3, write, meta={}).path


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


def test_a_flipped_bit_anywhere_in_what_is_read_is_refused(step):
    size = (step / "model.safetensors").stat().st_size
    for place in (0, 9, 200, size // 2, size - 1):
        flip(step / "model.safetensors", place)
        with pytest.raises(InputRefused, match="does not match its manifest"):
            read_model(step)
        flip(step / "model.safetensors", place)
    flip(step / "config.json", 30)
    with pytest.raises(InputRefused, match="does not match its manifest"):
        read_model(step)
    flip(step / "config.json", 30)
    assert torch.equal(logits(read_model(step)), logits(build("gpt2")))


def test_without_verification_a_flipped_weight_is_loaded(step):
    flip(step / "model.safetensors", -1)
    read_model(step, verify=False)


def test_training_state_is_not_hashed_to_read_the_model_but_must_be_there(step):
    flip(step / "state.safetensors", 5)
    read_model(step)
    (step / "state.safetensors").unlink()
    with pytest.raises(InputRefused, match=r"state\.safetensors"):
        read_model(step)


# --- other heads --------------------------------------------------------------------------------------------------


CLASSIFIERS = [n for n in family_names() if "classification" in load_family(n).heads]


@pytest.mark.parametrize(("name", "stored"), [(n, h) for n in CLASSIFIERS for h in load_family(n).heads])
def test_a_fresh_classifier_over_every_stored_head(name, stored, tmp_path):
    model = build(name, head=stored, labels=("x", "y") if stored in LABELLED else ())
    directory = written(tmp_path / "m", model)
    said = []
    classes = {"head": "classification", "labels": ("a", "b", "c")}
    if not hasattr(model, "decoder") and hasattr(build(name, **classes), "decoder"):
        with pytest.raises(InputRefused, match="belongs to the base model"):
            read_model(directory, **classes)
        return
    torch.manual_seed(5)
    found = read_model(directory, **classes, notice=said.append)
    torch.manual_seed(5)
    twin = read_model(directory, **classes)
    assert found.config.labels == ("a", "b", "c")
    assert logits(found).shape == (2, 3)
    assert torch.equal(logits(found), logits(twin))
    before, after = model.state_dict(), found.state_dict()
    assert said[0].startswith("freshly drawn: head.")
    fresh = said[0].removeprefix("freshly drawn: ").split(", ")
    base = {n for n in after if not n.startswith("head.")}
    assert base <= set(before)
    assert all(torch.equal(after[n], before[n]) for n in base)
    [drawn] = [after[n] for n in fresh if after[n].dim() == 2 and after[n].shape[0] == 3]
    assert 0.1 < drawn.std() / (found.config.init_std or 0.02) < 10
    stored_head = load_file(directory / "model.safetensors").keys() - stored_names(found, rules_of(found))
    assert all(n in said[-1] for n in stored_head), "what the new head has no use for is named"


def test_the_pooler_of_a_pretrained_bert_is_kept_under_a_classifier(tmp_path):
    model = build("bert", head="pretraining")
    found = read_model(written(tmp_path / "m", model), head="classification", labels=("a", "b"))
    assert torch.equal(found.head.pool.dense.weight, model.pair_head.pool.dense.weight)


def test_the_same_classes_keep_their_head_and_a_new_head_is_never_silent(tmp_path):
    model = build("bert", head="classification", labels=("a", "b"))
    directory = written(tmp_path / "m", model)
    same = read_model(directory, head="classification", labels=("a", "b"), notice=pytest.fail)
    assert torch.equal(same.head.linear.weight, model.head.linear.weight)
    backbone = written(tmp_path / "backbone", build("gpt2", head="backbone"))
    assert read_model(backbone).config.head == "backbone"  # no head appears unless it is asked for


def test_a_base_weight_is_never_drawn_afresh(tmp_path):
    directory = written(tmp_path / "m", build("bert"))
    change(directory, **{"bert.encoder.layer.0.output.dense.weight": None})
    with pytest.raises(InputRefused, match=r"lacks tensor 'bert\.encoder\.layer\.0\.output\.dense\.weight'"):
        read_model(directory, head="classification", labels=("a", "b"))


def test_a_base_is_tuned_with_the_dropout_that_is_asked_for(tmp_path):
    directory = written(tmp_path / "m", build("bert", dropout=0.0, attention_dropout=0.0))
    plain, dropping = (read_model(directory, dropout=rate).train() for rate in (None, 0.5))
    assert (dropping.config.dropout, dropping.config.attention_dropout) == (0.5, 0.5)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(plain(ids).hidden, plain(ids).hidden)
    assert not torch.equal(dropping(ids).hidden, dropping(ids).hidden)
    assert torch.equal(dropping.eval()(ids).hidden, plain(ids).hidden)


def test_a_head_the_family_does_not_have_is_a_usage_error(gpt2):
    with pytest.raises(UsageError, match="masked_lm"):
        read_model(gpt2, head="masked_lm")


# --- writing ------------------------------------------------------------------------------------------------------


def test_writing_replaces_nothing_and_follows_no_planted_link(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("keep")
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        directory = tmp_path / f"m-{name}"
        directory.mkdir()
        (directory / name).symlink_to(victim)
        with pytest.raises(FileExistsError):
            write_model(directory, build("gpt2"))
    assert victim.read_text() == "keep"


def test_the_same_model_always_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        written(tmp_path / name, build("bert"), max_shard_bytes=20_000)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_token_ids_reach_generation_config(tmp_path):
    directory = written(tmp_path / "m", build("llama", bos_id=1, eos_id=2, extra_eos_ids=(3,)))
    stored = json.loads((directory / "generation_config.json").read_text())
    assert stored == {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": [2, 3]}


def test_only_models_that_generate_have_a_generation_config(tmp_path):
    for head in ("backbone", "masked_lm", "classification"):
        labels = ("a", "b") if head == "classification" else ()
        directory = written(tmp_path / head, build("bert", head=head, labels=labels))
        assert not (directory / "generation_config.json").exists()


@pytest.mark.parametrize(
    ("stored", "further", "stops"),
    [(2, [2, 5, 5, 7, -1, 10**6], (2, 5, 7)), (None, [5, 7], (5, 7)), (2, 2, (2,)), (2, None, (2,)), (2, 5, (2, 5))],
)
def test_ends_of_text_that_only_generation_config_names_are_read(tmp_path, stored, further, stops):
    directory = written(tmp_path / "m", build("llama", eos_id=stored))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": further}))
    assert read_model_config(directory)[1].stop_ids == stops
    (directory / "generation_config.json").unlink()
    assert read_model_config(directory)[1].stop_ids == (() if stored is None else (stored,))


def test_a_generation_config_without_ids_is_refused_by_name(tmp_path):
    directory = written(tmp_path / "m", build("llama"))
    (directory / "generation_config.json").write_text('{"eos_token_id": ["2"]}')
    with pytest.raises(InputRefused, match=r"generation_config\.json: eos_token_id"):
        read_model_config(directory)


def test_damage_to_any_file_of_a_foreign_directory_is_our_error_or_none(gpt2):
    import random

    rng = random.Random(4)
    good = {p: p.read_bytes() for p in gpt2.iterdir()}
    for _ in range(60):
        path = rng.choice(sorted(good))
        content = bytearray(good[path])
        place = rng.randrange(min(len(content), 4000))
        content[place] = rng.randrange(256)
        path.write_bytes(content if rng.random() < 0.7 else content[:place])
        try:
            read_model(gpt2)
        except LlmkitError as error:
            assert str(gpt2) in error.message  # noqa: PT017
        path.write_bytes(good[path])


def test_a_snapshot_of_the_hub_cache_is_read_through_its_links(gpt2, tmp_path):
    tree = tmp_path / "hub" / "models--openai--gpt2"
    snapshot = tree / "snapshots" / "607a30d783dfa663caf39e06633721c8d4cfcd7e"
    snapshot.mkdir(parents=True)
    (tree / "blobs").mkdir()
    for i, path in enumerate(sorted(gpt2.iterdir())):
        blob = f"{i:064x}"
        shutil.copy(path, tree / "blobs" / blob)
        (snapshot / path.name).symlink_to(f"../../blobs/{blob}")
    assert torch.equal(logits(read_model(snapshot)), logits(read_model(gpt2)))
    family, config = read_model_config(snapshot)
    assert (family.name, config.n_layers) == ("gpt2", 2)
