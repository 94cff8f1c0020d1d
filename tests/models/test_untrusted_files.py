"""Untrusted files: every invalid index, header or JSON text is refused."""

import json

import pytest

from tests.models.folder_cases import error_of


@pytest.mark.parametrize("shard", [
    "../model.safetensors",
    "/etc/hostname",
    "a/../../b.safetensors",
    "sub/a.safetensors",
    "..",
    "",
    "model.bin",
    7,
    None,
    ["a.safetensors"],
    "..\\a.safetensors",
])  # fmt: skip
def test_shards_are_plain_names_in_the_folder(tiny_folder, shard):
    """A file outside would be read, if only its header, in the reader's name."""
    folder = tiny_folder("llama")
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"model.norm.weight": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    text = error_of(folder)
    assert str(folder) in text and "weight_map.model.norm.weight" in text


@pytest.mark.parametrize("text", [
    "[]", "7", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": 3}',
    '{"a": ' * 900 + "0" + "}" * 900, "[" * 100_000,
    '{"a": ' * 100_000, '{"weight_map": ' + "9" * 5000 + "}", "\xff",
])  # fmt: skip
def test_damaged_settings(tiny_folder, text):
    folder = tiny_folder("llama")
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_bytes(text.encode("latin-1"))
    assert "index.json" in error_of(folder)
    index.unlink()
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    assert "config.json" in error_of(folder)


def test_a_config_json_of_a_hundred_megabytes_is_not_read(tiny_folder):
    folder = tiny_folder("llama")
    with (folder / "config.json").open("ab") as file:
        file.truncate(10**8)
    assert "config.json has more than 64 MiB" in error_of(folder)


def header(text, length=None):
    raw = text if isinstance(text, bytes) else json.dumps(text).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize("data", [
    b"",
    b"1234567",
    header(b"{}", 2**63),
    header(b"{}", 2**40),
    header(b"not json"),
    header(b"[]"),
    header(b"{" * 1000),
    header({"a": TENSOR}),  # no data
    header({"a": TENSOR | {"shape": [2**62, 2**62]}}) + bytes(8),
    header({"a": TENSOR | {"shape": [-2]}}) + bytes(8),
    header({"a": TENSOR | {"dtype": "X9"}}) + bytes(8),
    header({"a": TENSOR | {"data_offsets": [8, 0]}}) + bytes(8),
    header({"a": TENSOR, "b": TENSOR}) + bytes(8),
], ids=range(13))  # fmt: skip
def test_damaged_headers(tiny_folder, data):
    folder = tiny_folder("llama")
    (folder / "model.safetensors").write_bytes(data)
    assert str(folder / "model.safetensors") in error_of(folder)


def test_a_folder_in_place_of_a_file(tiny_folder):
    folder = tiny_folder("llama")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").mkdir()
    assert "model.safetensors" in error_of(folder)
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    assert "config.json" in error_of(folder)
