import json
import os

import pytest

from llmkit.checkpoint import manifest
from llmkit.checkpoint.files import write_new
from llmkit.errors import InputRefused, StorageError


@pytest.fixture
def described(tmp_path):
    directory = tmp_path / "m"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 20)
    found = manifest.describe(directory, step=7, parent=5, meta={"digests": {"text": "ab"}, "lr": 0.1, "é": None})
    write_new(directory / manifest.NAME, [found.to_bytes()])
    return directory


def test_a_manifest_comes_back_as_it_was_written(described):
    found = manifest.verify(described)
    assert (found.step, found.parent, found.meta) == (7, 5, {"digests": {"text": "ab"}, "lr": 0.1, "é": None})
    assert found.files["config.json"].size == 2
    assert found.n_bytes == 2 + 256 * 20
    assert set(found.versions) == {"llmkit", "python", "torch"}
    assert json.loads((described / manifest.NAME).read_text())["schema"] == "llmkit/manifest/1"


def test_every_flipped_bit_and_every_cut_of_the_manifest_is_detected(described):
    path = described / manifest.NAME
    good = path.read_bytes()
    for place in range(len(good)):
        cuts = [good[:place]] if place % 4 == 0 or place > len(good) - 40 else []
        for damaged in (*cuts, good[:place] + bytes([good[place] ^ 1 << place % 8]) + good[place + 1 :]):
            path.write_bytes(damaged)
            with pytest.raises(InputRefused) as refusal:
                manifest.verify(described, content=False)
            assert str(described) in refusal.value.message
    path.write_bytes(good + b"\n")
    with pytest.raises(InputRefused):
        manifest.verify(described)


def rewrite(directory, **changes):
    """A manifest with other content and a digest that fits it: what a person, not an accident, would make."""
    path = directory / manifest.NAME
    body = json.loads(path.read_text()) | changes
    body.pop("digest")
    body["digest"] = manifest._digest(body)
    path.write_text(json.dumps(body, indent=1) + "\n")


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "llmkit/manifest/2"},
        {"step": -1},
        {"step": "7"},
        {"step": True},
        {"parent": 1.5},
        {"files": []},
        {"files": {"../secret": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"/etc/passwd": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"..": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"a\0b": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"manifest.json": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"config.json": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"config.json": {"size": 2, "sha256": "0" * 63}}},
        {"files": {"config.json": {"size": 2}}},
        {"files": {"config.json": None}},
        {"meta": []},
        {"versions": "1"},
        {"extra": 1},
    ],
    ids=str,
)
def test_a_manifest_nobody_wrote_by_accident_is_refused_too(changes, described):
    rewrite(described, **changes)
    with pytest.raises(InputRefused):
        manifest.verify(described)


def test_files_are_compared_by_size_before_anything_is_hashed(described, monkeypatch):
    os.truncate(described / "model.safetensors", 100)
    monkeypatch.setattr(manifest, "_hash", lambda *a: pytest.fail("hashed"))
    with pytest.raises(InputRefused, match="want 5,120 bytes, have 100"):
        manifest.verify(described)


@pytest.mark.parametrize("kind", ["extra file", "extra directory", "missing", "pipe", "directory"])
def test_the_directory_holds_exactly_the_files_of_the_manifest(kind, described):
    if kind == "extra file":
        (described / "pytorch_model.bin").write_bytes(b"")
    elif kind == "extra directory":
        (described / "sub").mkdir()
    else:
        (described / "config.json").unlink()
        if kind == "pipe":
            os.mkfifo(described / "config.json")
        elif kind == "directory":
            (described / "config.json").mkdir()
    with pytest.raises(InputRefused):
        manifest.verify(described)


def test_a_directory_that_is_gone_is_a_storage_error_and_one_without_manifest_is_refused(described, tmp_path):
    found = manifest.read_manifest(described)
    (described / manifest.NAME).unlink()
    with pytest.raises(InputRefused, match=r"no manifest\.json"):
        manifest.verify(described)
    with pytest.raises(StorageError):
        manifest.verify(tmp_path / "gone", found)


def test_the_background_check_explains_an_error_that_damage_caused(described):
    (described / "config.json").write_text("[]")
    with pytest.raises(InputRefused, match="does not match its manifest"), manifest.Verification(described):
        raise InputRefused("a JSON object was expected")
    with pytest.raises(InputRefused, match="a JSON object"), manifest.Verification(described, wanted=False):
        raise InputRefused("a JSON object was expected")


def test_a_directory_with_training_state_that_lost_its_manifest_is_refused(tmp_path):
    directory = tmp_path / "step-000001"
    directory.mkdir()
    (directory / "state.json").write_text("{}")
    with pytest.raises(InputRefused, match=r"has no manifest\.json"), manifest.Verification(directory) as verification:
        verification.finish()
    (directory / "state.json").unlink()
    with manifest.Verification(directory) as verification:
        verification.finish()
