import os
import subprocess
import sys

import pytest

from llmkit.checkpoint.files import make_directories, open_inside, read_small, remove_tree, write_new
from llmkit.errors import InputRefused, LlmkitError

BLOB = "ab" * 32


@pytest.fixture
def hub_cache(tmp_path):
    """models--org--m as the hub's download cache lays it out; returns the snapshot directory."""
    tree = tmp_path / "hub" / "models--org--m"
    (tree / "blobs").mkdir(parents=True)
    (tree / "blobs" / BLOB).write_bytes(b"weights")
    snapshot = tree / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{BLOB}")
    return snapshot


def test_links_of_the_hub_cache_are_followed(hub_cache):
    assert read_small(hub_cache, "model.safetensors", 100) == b"weights"


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../../../../secret",
        f"../../blobs/../blobs/{BLOB}",
        f"../../blobs/./{BLOB}",
        f"../../../models--org--m/blobs/{BLOB}",
        "../../blobs/secret",
        f"../../blobs/{BLOB}\n",
    ],
)
def test_other_links_in_a_hub_cache_are_refused(hub_cache, target):
    (hub_cache / "config.json").symlink_to(target)
    with pytest.raises(InputRefused, match="is a link"):
        read_small(hub_cache, "config.json", 100)


def test_a_hub_shaped_link_elsewhere_is_refused(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / BLOB).write_bytes(b"secret")
    model = tmp_path / "a" / "model"
    model.mkdir(parents=True)
    (model / "config.json").symlink_to(f"../../blobs/{BLOB}")
    with pytest.raises(InputRefused, match="is a link"):
        read_small(model, "config.json", 100)


@pytest.mark.parametrize("where", ["blob", "blobs"])
def test_a_hub_cache_whose_blobs_are_links_leads_nowhere(hub_cache, tmp_path, where):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / BLOB).write_bytes(b"secret")
    blobs = hub_cache.parent.parent / "blobs"
    (blobs / BLOB).unlink()
    if where == "blob":
        (blobs / BLOB).symlink_to(secret / BLOB)
    else:
        blobs.rmdir()
        blobs.symlink_to(secret)
    with pytest.raises(LlmkitError):
        read_small(hub_cache, "model.safetensors", 100)


def test_a_linked_directory_that_the_user_named_is_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "config.json").write_bytes(b"{}")
    (tmp_path / "alias").symlink_to("real")
    assert read_small(tmp_path / "alias", "config.json", 10) == b"{}"


def test_reading_a_file_as_a_directory_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputRefused, match="is a file"):
        open_inside(tmp_path / "file", "config.json")


def test_large_files_are_not_read_as_small_ones(tmp_path):
    (tmp_path / "config.json").write_bytes(b" " * 101)
    with pytest.raises(InputRefused, match="101 bytes"):
        read_small(tmp_path, "config.json", 100)


def test_writing_never_goes_through_a_planted_link_nor_over_a_file(tmp_path):
    (tmp_path / "victim").write_bytes(b"keep")
    (tmp_path / "out").symlink_to("victim")
    for name in ("out", "victim"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, [b"x"])
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "dangling", [b"x"])
    assert (tmp_path / "victim").read_bytes() == b"keep"
    assert not (tmp_path / "nowhere").exists()


def test_files_get_the_mode_that_umask_leaves(tmp_path):
    old = os.umask(0o027)
    try:
        write_new(tmp_path / "f", [b"x"])
    finally:
        os.umask(old)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    write_new(tmp_path / "f", [b"0123456789" * 5, memoryview(b"abc")])
    assert (tmp_path / "f").read_bytes() == b"0123456789" * 5 + b"abc"


def test_remove_tree_takes_a_link_but_not_what_it_points_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    remove_tree(tmp_path / "link")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kept"]


def test_make_directories_makes_each_durable_in_its_parent(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("llmkit.checkpoint.files.fsync_directory", synced.append)
    make_directories(tmp_path / "a" / "b")
    assert synced == [tmp_path, tmp_path / "a"]


def test_checkpoint_package_reads_and_commits_without_torch_and_numpy(tmp_path):
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from llmkit.checkpoint import header, shards, store, refs, manifest, config_json, state, hf_layout, tensors\n"
        "run = store.RunDirectory(Path(sys.argv[1]) / 'runs' / 'a')\n"
        "with run.lock():\n"
        "    run.save(1, lambda d: (d / 'config.json').write_text('{}') and None, meta={})\n"
        "assert refs.resolve('a', Path(sys.argv[1]) / 'runs').name == 'step-000001'\n"
        "assert not {'torch', 'numpy', 'rich', 'typer'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
