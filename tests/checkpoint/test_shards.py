import json
import os

import pytest
import torch
from safetensors.torch import save_file

from llmkit.checkpoint.shards import list_tensors
from llmkit.errors import InputRefused, LlmkitError, StorageError

A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(tmp_path):
    directory = tmp_path / "model"
    directory.mkdir()
    save_file({"a": torch.arange(4.0), "b": torch.arange(2)}, directory / A)
    save_file({"c": torch.ones(3, 2)}, directory / B)
    write_index(directory, {"a": A, "b": A, "c": B})
    save_file({"secret": torch.ones(1)}, tmp_path / "outside.safetensors")
    return directory


def write_index(directory, weight_map, **more):
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 56}, "weight_map": weight_map, **more}))


def test_shards_are_listed_with_the_file_of_each_tensor(sharded):
    found = list_tensors(sharded)
    assert {name: t.file.name for name, t in found.items()} == {"a": A, "b": A, "c": B}
    assert found["c"].shape == (3, 2)
    content = found["c"].file.read_bytes()[found["c"].data_start :]
    assert content[found["c"].start : found["c"].end] == torch.ones(3, 2).numpy().tobytes()


HOSTILE_NAMES = {
    "parent": "../outside.safetensors",
    "parent of a real directory": "sub/../../outside.safetensors",
    "subdirectory": "sub/x.safetensors",
    "absolute": "/tmp/outside.safetensors",
    "NUL": "x\0.safetensors",
    "backslash": "..\\outside.safetensors",
    "drive": "C:\\outside.safetensors",
    "URL": "file:///etc/passwd.safetensors",
    "home": "~/outside.safetensors",
    "dot first": ".hidden.safetensors",
    "dash first": "-rf.safetensors",
    "newline": "x\n.safetensors",
    "trailing newline": A + "\n",
    "escape": "\x1b[2J.safetensors",
    "full-width dots": "．．／outside.safetensors",
    "space": "a b.safetensors",
    "too long": "a" * 200 + ".safetensors",
    "other suffix": "config.json",
    "pickle": "pytorch_model.bin",
    "empty": "",
    "just the suffix": ".safetensors",
    "number": 5,
    "null": None,
    "list": [A],
}


@pytest.mark.parametrize("kind", HOSTILE_NAMES)
def test_hostile_shard_name_is_refused_before_anything_is_opened(kind, sharded, monkeypatch):
    write_index(sharded, {"a": A, "b": A, "c": B, "secret": HOSTILE_NAMES[kind]})
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *a, **k: opened.append(str(path)) or real(path, *a, **k))
    with pytest.raises(InputRefused, match="nothing was read") as refusal:
        list_tensors(sharded)
    assert "\n" not in refusal.value.message
    assert {os.path.basename(p) for p in opened} <= {"model", "model.safetensors", "model.safetensors.index.json"}


@pytest.mark.parametrize("kind", ["link outside", "link inside", "directory", "pipe", "missing"])
def test_shard_that_is_no_regular_file_is_refused(kind, sharded, tmp_path):
    shard = sharded / B
    shard.unlink()
    if kind.startswith("link"):
        shard.symlink_to(tmp_path / "outside.safetensors" if kind == "link outside" else A)
    elif kind == "directory":
        shard.mkdir()
    elif kind == "pipe":
        os.mkfifo(shard)
    with pytest.raises(InputRefused):
        list_tensors(sharded)


@pytest.mark.parametrize(
    "weight_map",
    [
        {"a": A, "c": B},
        {"a": A, "b": A, "c": B, "d": B},
        {"a": B, "b": A, "c": B},
        {},
        [],
        "model",
        {"a": A, "b": A, "c": B, "\x1b]0;x\x07": B},
        {"a": A, "b": A, "c": B, "": B},
    ],
)
def test_index_that_does_not_match_its_shards_is_refused(weight_map, sharded):
    write_index(sharded, weight_map)
    with pytest.raises(InputRefused):
        list_tensors(sharded)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"weight_map": {"a": 1', "\xff", '{"weight_map":{"a":"x","a":"y"}}'])
def test_index_that_is_no_json_object_is_refused(text, sharded):
    (sharded / "model.safetensors.index.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputRefused):
        list_tensors(sharded)


def test_thousands_of_shards_are_refused_before_any_is_opened(sharded):
    write_index(sharded, {f"t{i}": f"m{i}.safetensors" for i in range(600)})
    with pytest.raises(InputRefused, match="512 shards"):
        list_tensors(sharded)


def test_single_file_wins_over_an_index_beside_it(sharded):
    save_file({"only": torch.ones(1)}, sharded / "model.safetensors")
    assert list(list_tensors(sharded)) == ["only"]


def test_pickled_weights_are_one_clear_refusal(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(InputRefused, match="never read"):
        list_tensors(tmp_path)


@pytest.mark.parametrize(
    ("name", "error"), [("nowhere", StorageError), ("empty", InputRefused), ("file", InputRefused)]
)
def test_what_is_no_model_directory_says_what_it_is(name, error, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(error) as refusal:
        list_tensors(tmp_path / name)
    assert isinstance(refusal.value, LlmkitError)
    assert name in refusal.value.message
