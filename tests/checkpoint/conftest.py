import json

import pytest


def safetensors_bytes(header, data=b"", *, length=None):
    """A file with this header (an object, or raw bytes) and this many bytes of data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


@pytest.fixture
def make_file():
    return safetensors_bytes


@pytest.fixture
def save_files():
    """A `write` for RunDirectory.save: files of random-looking but fixed content per step."""
    from llmkit.checkpoint.files import write_new

    def files(seed, size=3000):
        def write(directory):
            for name, scale in (("config.json", 0), ("model.safetensors", 3), ("state.json", 1)):
                content = (f"{name} {seed} ".encode() * (size * (scale + 1)))[: size * (scale + 1)]
                write_new(directory / name, [content[:100], content[100:]])

        return write

    return files
