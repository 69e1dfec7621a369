"""Files that the user names, and the disk that does not take them."""

import os
import stat
from pathlib import Path

import pytest

from llmkit.cli.output import write_file
from llmkit.errors import StorageError


def test_a_full_disk_leaves_the_old_file_as_it_was_and_nothing_beside_it(tmp_path, small_disk):
    path = tmp_path / "a.svg"
    path.write_bytes(b"good")
    with small_disk(1000), pytest.raises(StorageError, match=r"a\.svg"):
        write_file(path, b"x" * 2000)
    assert path.read_bytes() == b"good"
    assert os.listdir(tmp_path) == ["a.svg"]


def test_a_file_keeps_its_mode_and_a_link_its_target(tmp_path):
    path, link = tmp_path / "a.svg", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    write_file(link, b"new")
    assert link.is_symlink()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_new_file_is_readable_as_any_other(tmp_path):
    write_file(tmp_path / "a", b"x")
    (tmp_path / "b").write_bytes(b"x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_device_is_written_to_where_it_is():
    write_file(Path("/dev/null"), b"x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("flags", [("--svg",), ("--text", "the cat sat on the mat " * 2, "--save")])
def test_inspect_spares_the_old_file_when_the_disk_is_full(flags, llmkit, tmp_path, small_disk):
    path = tmp_path / "old"
    path.write_bytes(b"<svg>good</svg>")
    with small_disk(300):
        done = llmkit("inspect", "gpt", "--quiet", *flags, str(path))
    assert done.code == 74
    assert path.read_bytes() == b"<svg>good</svg>"
    assert os.listdir(tmp_path) == ["old"]


def test_a_forced_pack_that_fails_spares_the_old_files(llmkit, tmp_path, small_disk):
    path = tmp_path / "corpus.bin"
    assert llmkit("tokenize", "-t", "gpt", "--out", str(path), stdin=b"the cat").code == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with small_disk(1000):
        done = llmkit("tokenize", "-t", "gpt", "--out", str(path), "--force", stdin=b"the cat sat " * 1000)
    assert done.code == 74
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_tokenizer_that_does_not_fit_leaves_no_part_of_it(llmkit, tmp_path, small_disk):
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 50)
    with small_disk(1500):
        done = llmkit("train-bpe", str(tmp_path / "a.txt"), "--out", str(tmp_path / "mine"), "--quiet")
    assert done.code == 74
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_tokenizer_that_does_not_fit_spares_the_old_one(llmkit, tmp_path, small_disk):
    (tmp_path / "a.txt").write_text("the cat sat on the mat. " * 50)
    command = ("train-bpe", str(tmp_path / "a.txt"), "--out", str(tmp_path / "mine"), "--quiet")
    assert llmkit(*command).code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "mine").iterdir()}
    with small_disk(1500):
        assert llmkit(*command, "--force", "--algorithm", "wordpiece", "--vocab-size", "100").code == 74
    assert {p.name: p.read_bytes() for p in (tmp_path / "mine").iterdir()} == before
