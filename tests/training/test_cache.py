"""The cache of tokenized texts: what was killed half way leaves nothing behind for good."""

from llmkit.training.cache import text_cache


def test_what_killed_processes_left_is_cleared_and_nothing_else(tmp_path):
    with text_cache(tmp_path) as cache:
        (cache / "corpus-1").mkdir()
        (cache / "corpus-1" / "ids.bin").write_bytes(b"ids")
        for left in (".tmp-note-a", "corpus-1/.tmp-note-b"):
            (cache / left).write_text("half")
        (cache / ".tmp-corpus-c").mkdir()
        (cache / ".tmp-corpus-c" / "ids.bin").write_bytes(b"half")
        with text_cache(tmp_path):  # another run, while this one is at work
            assert len(list(cache.rglob(".tmp-*"))) == 3
    with text_cache(tmp_path):
        assert sorted(str(p.relative_to(cache)) for p in cache.rglob("*")) == ["corpus-1", "corpus-1/ids.bin", "lock"]
