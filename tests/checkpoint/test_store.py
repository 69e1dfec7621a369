"""The commit protocol: whatever fails, and whenever, the checkpoints before still verify and nothing is left behind."""

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
import time

import pytest

from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import InputRefused, LlmkitError, RunInUse, StorageError, UsageError


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path / "runs" / "a")


def left_overs(run):
    return [p.name for p in run.path.iterdir() if p.name.startswith((".tmp", ".trash"))]


def latest_step(run):
    told = []
    found = run.latest_valid(lambda checkpoint, why: told.append((checkpoint.step, why)))
    return (found.step if found else None), told


def test_saved_steps_are_found_verified_and_described(run, save_files):
    with run.lock():
        for step in (5, 10):
            saved = run.save(step, save_files(step), meta={"recipe": "r1"})
    assert [c.step for c in run.checkpoints()] == [5, 10]
    assert saved.path.name == "step-000010"
    assert (saved.manifest.parent, saved.manifest.meta) == (5, {"recipe": "r1"})
    assert set(saved.manifest.files) == {"config.json", "model.safetensors", "state.json"}
    assert latest_step(run) == (10, [])


def test_a_run_that_does_not_exist_has_no_checkpoints(run):
    assert run.checkpoints() == []
    assert latest_step(run) == (None, [])
    assert not run.path.exists()


# --- R1, R5: errors injected at the n-th call ---------------------------------------------------------------------

CALLS = ("open", "write", "fsync", "mkdir", "rename", "unlink", "rmdir")


def calls_recorded(monkeypatch, fail_at=None, error=errno.EIO, short=False):
    """Replace the os calls that change anything by ones that record themselves; call number `fail_at` fails."""
    record = []
    paths = {}

    def wrap(name, real):
        def call(*args, **kwargs):
            target = args[0]
            if name == "open" and not args[1] & (os.O_WRONLY | os.O_RDWR):  # reads are not what is tested here
                fd = real(*args, **kwargs)
                paths[fd] = str(target)
                return fd
            record.append((name, paths.get(target, target) if isinstance(target, int) else str(target), args[1:2]))
            if fail_at is not None and len(record) == fail_at + 1:
                if short and name == "write":
                    real(args[0], args[1][: len(args[1]) // 2])
                raise OSError(error, os.strerror(error), str(target))
            result = real(*args, **kwargs)
            if name == "open":
                paths[result] = str(target)
            return result

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, wrap(name, getattr(os, name)))
    return record


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EDQUOT])
def test_error_at_any_call_of_a_save_leaves_the_older_checkpoint_and_no_temporary(run, save_files, code):
    with run.lock():
        run.save(1, save_files(1), meta={})
    n = 0
    while True:
        with run.lock():
            assert left_overs(run) == []
            with pytest.MonkeyPatch.context() as patch:
                record = calls_recorded(patch, n, code, short=code == errno.ENOSPC)
                failure = None
                try:
                    run.save(n + 2, save_files(n), meta={})
                except StorageError as error:
                    failure = error.message
            assert failure is None or os.strerror(code) in failure
            if len(record) <= n:
                break
            # A failed fsync of the parent comes after the rename: the new one may be seen then, and it is whole.
            step, told = latest_step(run)
            assert told == []
            assert step in (n + 2, 1) if failure else step == n + 2
            if step != 1:
                shutil.rmtree(run.path / f"step-{step:06d}")
        n += 1
    assert n > 15
    assert latest_step(run)[0] == n + 2


def test_error_at_any_call_of_a_prune_leaves_the_newest_checkpoint(tmp_path, save_files):
    n = 0
    while True:
        run = RunDirectory(tmp_path / f"run{n}")
        with run.lock():
            for step in (1, 2, 3):
                run.save(step, save_files(step), meta={})
            with pytest.MonkeyPatch.context() as patch:
                record = calls_recorded(patch, n)
                with contextlib.suppress(StorageError):
                    run.prune(1)
            assert latest_step(run) == (3, [])
        with run.lock():
            assert left_overs(run) == []
            run.prune(1)
            assert [c.step for c in run.checkpoints()] == [3]
        if len(record) <= n:
            break
        n += 1
    assert n > 5


def test_an_exception_in_the_writer_is_passed_on_and_nothing_stays(run):
    def write(directory):
        (directory / "config.json").write_text("{}")
        raise KeyboardInterrupt

    with run.lock():
        with pytest.raises(KeyboardInterrupt):
            run.save(1, write, meta={})
        assert left_overs(run) == []
        assert run.checkpoints() == []


def test_a_save_that_cannot_fit_is_refused_before_anything_is_written(run, save_files, monkeypatch):
    monkeypatch.setattr("llmkit.checkpoint.store.free_bytes", lambda path: 119)
    with run.lock():
        with pytest.raises(StorageError, match="no room"):
            run.save(1, lambda directory: pytest.fail("was asked to write"), meta={}, predicted_bytes=100)
        monkeypatch.setattr("llmkit.checkpoint.store.free_bytes", lambda path: 120)
        run.save(1, save_files(1), meta={}, predicted_bytes=100)


FULL_DISK = """
import resource, sys
from pathlib import Path
from llmkit.checkpoint.files import write_new
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import StorageError

run = RunDirectory(Path(sys.argv[1]))
with run.lock():
    run.save(1, lambda d: write_new(d / "model.safetensors", [b"x" * 1000]), meta={})
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    try:
        run.save(2, lambda d: write_new(d / "model.safetensors", [b"x" * 5000]), meta={})
    except StorageError as error:
        print(error.message, "|", error.hint)
    run.save(3, lambda d: write_new(d / "model.safetensors", [b"x" * 1500]), meta={})
"""


def test_a_write_that_the_kernel_cuts_off_costs_only_that_checkpoint(run):
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(run.path)], capture_output=True, text=True, timeout=60)
    assert "was not saved" in done.stdout, done.stderr
    assert "free some space" in done.stdout
    assert [c.step for c in run.checkpoints()] == [1, 3]
    assert latest_step(run) == (3, [])
    assert left_overs(run) == []


# --- R2: order of operations --------------------------------------------------------------------------------------


def test_everything_is_durable_before_it_becomes_visible(run, save_files, monkeypatch):
    with run.lock():
        record = calls_recorded(monkeypatch)
        run.save(7, save_files(7), meta={})
    monkeypatch.undo()
    names = [(call, os.path.basename(target)) for call, target, _ in record]
    rename = next(i for i, (call, _) in enumerate(names) if call == "rename")
    temporary = names[rename][1]
    assert temporary.startswith(f".tmp-step-000007-{os.getpid()}-")
    files = ["config.json", "model.safetensors", "state.json"]
    manifest_opened = names.index(("open", "manifest.json"))
    for name in files:
        last_write = max(i for i, (call, n) in enumerate(names) if call == "write" and n == name)
        assert last_write < names.index(("fsync", name)) < manifest_opened
    manifest_synced = names.index(("fsync", "manifest.json"))
    assert manifest_opened < names.index(("write", "manifest.json")) < manifest_synced
    assert manifest_synced < names.index(("fsync", temporary)) < rename
    assert names[rename + 1 :] == [("fsync", "a")]


def test_prune_makes_the_renames_durable_before_it_deletes(run, save_files, monkeypatch):
    with run.lock():
        for step in (1, 2, 3):
            run.save(step, save_files(step), meta={})
        record = calls_recorded(monkeypatch)
        run.prune(1)
    monkeypatch.undo()
    calls = [call for call, _, _ in record]
    assert calls[:3] == ["rename", "rename", "fsync"]
    assert set(calls[3:]) <= {"unlink", "rmdir"}


# --- R3, R4, R17 --------------------------------------------------------------------------------------------------


def test_prune_keeps_the_newest_and_says_what_it_deleted(run, save_files):
    with run.lock():
        for step in range(1, 6):
            run.save(step, save_files(step), meta={})
        assert [c.step for c in run.prune(2)] == [1, 2, 3]
        assert [c.step for c in run.prune(2)] == []
    assert [c.step for c in run.checkpoints()] == [4, 5]
    assert left_overs(run) == []


def test_prune_does_not_count_a_newest_checkpoint_that_is_broken(run, save_files):
    with run.lock():
        for step in (1, 2, 3):
            run.save(step, save_files(step), meta={})
    flip_bit(run.path / "step-000003" / "model.safetensors", 5)
    fresh = RunDirectory(run.path)
    with fresh.lock():
        fresh.prune(1)
    assert [c.step for c in fresh.checkpoints()] == [2, 3]
    assert latest_step(fresh)[0] == 2


def test_prune_deletes_nothing_when_nothing_verifies(run, save_files):
    with run.lock():
        for step in (1, 2):
            run.save(step, save_files(step), meta={})
    for step in (1, 2):
        flip_bit(run.path / f"step-00000{step}" / "model.safetensors", 5)
    fresh = RunDirectory(run.path)
    with fresh.lock():
        assert fresh.prune(1) == []
        with pytest.raises(UsageError):
            fresh.prune(0)
    assert [c.step for c in fresh.checkpoints()] == [1, 2]


def test_only_left_overs_of_our_own_pattern_are_deleted_and_only_under_the_lock(run):
    run.path.mkdir(parents=True)
    ours = [".tmp-step-000005-123-0a1b2c3d", ".trash-step-000005-9-ffffffff"]
    others = [".tmp-mine", ".trash", ".tmp-step-000005-123-XYZ", "tmp-step-000005-123-0a1b2c3d", ".tmp-a b-1-0a1b2c3d"]
    for name in ours + others:
        (run.path / name).mkdir()
        (run.path / name / "file").write_text("x")
    (run.path / ".tmp-step-000001-1-00000000").symlink_to(run.path / ".tmp-mine")
    run.checkpoints()
    assert len(left_overs(run)) > 5
    with run.lock():
        found = {p.name for p in run.path.iterdir()}
    assert found == {*others, "run.lock", ".tmp-step-000001-1-00000000"}
    assert (run.path / ".tmp-mine" / "file").exists()


def test_saving_the_same_bytes_again_is_harmless_and_other_bytes_are_refused(run, save_files):
    with run.lock():
        first = run.save(1, save_files(1), meta={})
        before = first.path.stat().st_ino
        assert run.save(1, save_files(1), meta={"other": 1}).path == first.path
        with pytest.raises(InputRefused, match="not overwritten"):
            run.save(1, save_files(2), meta={})
        assert first.path.stat().st_ino == before
        assert left_overs(run) == []
    assert latest_step(run) == (1, [])


@pytest.mark.parametrize("damage", ["flip", "no manifest", "empty directory"])
def test_a_step_that_does_not_verify_makes_way_for_a_good_one(run, save_files, damage):
    with run.lock():
        run.save(1, save_files(1), meta={})
        broken = run.save(2, save_files(2), meta={}).path
        if damage == "flip":
            flip_bit(broken / "model.safetensors", 77)
        elif damage == "no manifest":
            (broken / "manifest.json").unlink()
        else:
            shutil.rmtree(broken)
            broken.mkdir()
        assert latest_step(run)[0] == 1
        run.save(2, save_files(2), meta={})
        assert latest_step(run) == (2, [])
        assert left_overs(run) == []


def test_steps_have_one_spelling_and_links_are_no_steps(run, save_files):
    with run.lock():
        path = run.save(5, save_files(5), meta={}).path
    shutil.copytree(path, run.path / "step-0000005")
    (run.path / "step-000006").symlink_to(path)
    shutil.copytree(path, run.path / "step-000007")  # a copy under another number is not that step
    assert [c.step for c in run.checkpoints()] == [5, 7]
    step, told = latest_step(run)
    assert (step, [s for s, _ in told]) == (5, [7])
    assert "saved as step 5" in told[0][1]


# --- C4, reduced: corruption --------------------------------------------------------------------------------------


def flip_bit(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


def damages(rng, directory):
    """(name, function that does it) for every way a checkpoint is broken here."""
    files = sorted(directory.iterdir())
    for path in files:
        size = path.stat().st_size
        for _ in range(15):
            cut, bit = rng.randrange(size), rng.randrange(size * 8)
            yield f"{path.name} cut at {cut}", lambda p=path, n=cut: os.truncate(p, n)
            yield f"{path.name} bit {bit}", lambda p=path, b=bit: flip_bit(p, b)
        yield f"{path.name} deleted", path.unlink
        yield f"{path.name} twice", lambda p=path: shutil.copy(p, p.with_name("copy-" + p.name))
        yield f"{path.name} longer", lambda p=path: p.write_bytes(p.read_bytes() + b"\0")
        yield f"{path.name} a link", lambda p=path: (p.rename(directory.parent / "aside"), p.symlink_to("../aside"))
        for other in files:
            if other != path:
                yield f"{path.name} swapped with {other.name}", lambda a=path, b=other: swap(a, b)
        if size > 4096:
            yield f"{path.name} zero page", lambda p=path: zero_page(p)


def swap(a, b):
    x, y = a.read_bytes(), b.read_bytes()
    a.write_bytes(y)
    b.write_bytes(x)


def zero_page(path):
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\0" * 4096)


def test_every_damage_is_detected_and_the_older_checkpoint_is_used(run, save_files, tmp_path):
    with run.lock():
        run.save(1, save_files(1), meta={"seed": 1})
        good = run.save(2, save_files(2), meta={"seed": 2}).path
    aside = tmp_path / "good"
    shutil.copytree(good, aside)
    tried = 0
    for name, damage in damages(random.Random(20), good):
        damage()
        step, told = latest_step(run)
        assert (step, [s for s, _ in told]) == (1, [2]), name
        assert str(good) in told[0][1], name
        with pytest.raises(LlmkitError):
            run.checkpoints()[-1].verify() if len(run.checkpoints()) == 2 else run_step(run, 2).verify()
        shutil.rmtree(good)
        shutil.copytree(aside, good)
        for extra in run.path.glob("aside"):
            extra.unlink()
        tried += 1
    assert tried > 140
    assert latest_step(run) == (2, [])


def run_step(run, step):
    from llmkit.checkpoint.store import Checkpoint

    return Checkpoint(run.path / f"step-{step:06d}", step)


# --- R15: locks ---------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from llmkit.checkpoint.store import RunDirectory
from llmkit.errors import RunInUse
for line in sys.stdin:
    try:
        with RunDirectory(Path(sys.argv[1])).lock():
            print("got it", flush=True)
            sys.stdin.readline()
            print("let go", flush=True)
    except RunInUse as error:
        print("in use:", error.message, flush=True)
        sys.stdin.readline()
        print("let go", flush=True)
"""


def start_holders(run, count):
    return [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(count)
    ]


def test_of_two_processes_that_start_at_once_exactly_one_wins(run):
    holders = start_holders(run, 2)
    try:
        for _ in range(60):
            for holder in holders:
                holder.stdin.write("go\n")
                holder.stdin.flush()
            answers = [holder.stdout.readline() for holder in holders]
            assert sorted(a.split()[0] for a in answers) == ["got", "in"], answers
            winner = next(h for h, a in zip(holders, answers, strict=True) if a.startswith("got"))
            assert any(f"process {winner.pid} on host" in a for a in answers), answers
            for holder in holders:
                holder.stdin.write("done\n")
                holder.stdin.flush()
                assert holder.stdout.readline() == "let go\n"
    finally:
        for holder in holders:
            holder.stdin.close()
            holder.wait(timeout=20)


def test_the_lock_of_a_killed_process_is_free_and_its_left_overs_go(run):
    (holder,) = start_holders(run, 1)
    holder.stdin.write("go\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "got it\n"
    (run.path / f".tmp-step-000003-{holder.pid}-00000000").mkdir()
    start = time.monotonic()
    with pytest.raises(RunInUse, match=f"process {holder.pid} on host .* started 20") as refusal, run.lock():
        pass
    assert time.monotonic() - start < 1
    assert refusal.value.hint
    assert len(left_overs(run)) == 1  # not ours to delete while another works here
    holder.kill()
    holder.wait()
    with run.lock():
        assert left_overs(run) == []


def test_a_lock_file_that_vanishes_between_open_and_lock_is_made_anew(run, monkeypatch):
    import fcntl

    run.path.mkdir(parents=True)
    real = fcntl.flock
    vanish = iter([True, False])

    def flock(fd, how):
        if next(vanish):
            (run.path / "run.lock").unlink()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with run.lock():
        assert (run.path / "run.lock").exists()


def test_a_directory_that_cannot_be_written_is_one_clear_error(tmp_path, save_files):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"), RunDirectory(tmp_path / "file" / "a").lock():
        pass
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match=r"run\.lock"), RunDirectory(tmp_path / "a").lock():
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_saving_without_the_lock_is_a_bug_and_says_so(run, save_files):
    with pytest.raises(AssertionError, match="lock"):
        run.save(1, save_files(1), meta={})


# --- R1: kill -9 --------------------------------------------------------------------------------------------------

SAVER = """
import sys, time
from pathlib import Path
from llmkit.checkpoint.files import write_new
from llmkit.checkpoint.store import RunDirectory

run = RunDirectory(Path(sys.argv[1]))
with run.lock():
    assert not [p for p in run.path.iterdir() if p.name.startswith((".tmp", ".trash"))]
    last = run.latest_valid(lambda c, why: sys.exit(f"{c.step} is broken: {why}"))
    step = last.step if last else 0
    print(step, flush=True)
    while True:
        step += 1
        def write(directory):
            for name in ("config.json", "model.safetensors"):
                write_new(directory / name, [f"{name} {step} ".encode() * 1000] * 20)
        run.save(step, write, meta={})
        run.prune(1)
        print(step, flush=True)
"""


def test_a_run_killed_at_random_moments_goes_on_from_its_last_commit(run):
    rng = random.Random(11)
    done = 0
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", SAVER, str(run.path)], stdout=subprocess.PIPE, text=True) as child:
            first = int(child.stdout.readline())
            assert first in (done, done + 1)  # a step may be durable although nobody heard of it
            for _ in range(rng.randrange(4)):
                done = int(child.stdout.readline())
            time.sleep(rng.random() * 0.03)
            child.kill()
            done = max([first, done, *map(int, child.stdout.read().split())])
    assert done > 8
    with run.lock():
        step, told = latest_step(run)
        assert left_overs(run) == []
    assert told == []
    assert step in (done, done + 1)
    assert len(run.checkpoints()) <= 2


def test_a_run_that_never_began_leaves_nothing(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "a")
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    assert not run.path.exists()
    with run.lock():
        (run.path / "metrics.jsonl").write_text("")
    assert sorted(p.name for p in run.path.iterdir()) == ["metrics.jsonl", "run.lock"]
