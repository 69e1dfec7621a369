"""`inspect --config` and what `store diff` says of settings."""

import json
import shutil

import pytest

from llmkit.models.registry import family_names, load_family


def rows(run):
    assert run.code == 0, run.err
    return {line.split("\t")[0]: line.split("\t")[1:] for line in run.out.decode().splitlines()}


@pytest.mark.parametrize("name", family_names())
def test_every_family_shows_its_settings_and_paper_without_a_model(llmkit, name):
    found = json.loads(llmkit("inspect", name, "--config", "--json").out)
    family = load_family(name)
    assert (found["paper"], found["heads"]) == (family.paper, dict(family.heads))
    listed = {s["name"]: s for s in found["settings"]}
    assert {"vocab_size", "d_model", "n_layers", "head"} <= listed.keys()
    assert {s["key"] for s in listed.values()} >= {key.theirs for key in family.keys.values()}


def test_a_models_settings_stand_beside_the_defaults(llmkit):
    found = rows(llmkit("inspect", "gpt", "--config"))
    assert found["d_model"] == ["32", "768", "n_embd"]
    assert found["n_kv_heads"][:2] == ["2", "auto"]
    assert found["scale_attention"] == ["true", "true", "scale_attn_weights"]


def test_a_model_in_the_store_goes_before_a_family_of_its_name(llmkit):
    assert rows(llmkit("inspect", "bert", "--config"))["d_model"][0] == "32"
    assert rows(llmkit("inspect", "llama", "--config"))["d_model"][0] == "4096"


def test_on_a_terminal_nothing_is_wider_than_it(on_terminal):
    screen = on_terminal("inspect", "gpt", "--config")
    assert "Radford et al. 2019" in screen.shown


def test_neither_a_model_nor_a_family_is_wrong_use(llmkit):
    run = llmkit("inspect", "lama", "--config")
    assert run.code == 2
    assert "Traceback" not in run.err


def test_settings_that_differ_are_told_and_a_default_left_out_is_not(llmkit, small_store, tmp_path):
    shutil.copytree(small_store / "gpt", tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    raw = json.loads(path.read_text())
    del raw["layer_norm_epsilon"]  # 1e-05 is what silence means
    path.write_text(json.dumps(raw))
    assert llmkit("store", "diff", "gpt", str(tmp_path / "other")).code == 0
    path.write_text(json.dumps(raw | {"activation_function": "relu"}))
    run = llmkit("store", "diff", "gpt", str(tmp_path / "other"))
    assert run.code == 3
    assert run.out.decode().splitlines() == ['config\tactivation\t"gelu_new" -> "relu"']
    found = json.loads(llmkit("store", "diff", "gpt", str(tmp_path / "other"), "--json").out)
    assert (found["config"], found["is_equal"]) == ({"activation": ["gelu_new", "relu"]}, False)


def test_models_of_two_families_are_compared_by_the_keys_of_their_files(llmkit):
    found = json.loads(llmkit("store", "diff", "gpt", "bert", "--json").out)
    assert found["config"]["model_type"] == ["gpt2", "bert"]
