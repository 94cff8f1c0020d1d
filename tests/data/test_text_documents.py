"""Plain texts as documents: layouts, rows, and files that cannot be read."""

import gzip
import json

import pytest

from jaxalign.data.text_documents import read_documents

TEXT = "a b\n\nc\r\nd\n\n\ne\n"


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes(TEXT.encode())
    return str(path)


@pytest.mark.parametrize(
    "layout, texts, lines",
    [
        ("file", ["a b\n\nc\nd\n\n\ne\n"], [None]),
        ("lines", ["a b", "c", "d", "e"], [1, 3, 4, 7]),
        ("paragraphs", ["a b", "c\nd", "e\n"], [1, 3, 7]),
        # a single line break separates stories; an empty line is a break inside one
        ("stories", ["a b\nc", "d\n\ne"], [1, 4]),
    ],
)
def test_layouts(text_file, layout, texts, lines):
    documents = read_documents([text_file], layout)
    assert [d.text for d in documents] == texts
    places = [text_file if n is None else f"{text_file}:{n}" for n in lines]
    assert [d.location for d in documents] == places


def test_rows_and_compressed_files(tmp_path):
    rows = tmp_path / "r.jsonl"
    rows.write_text(
        "".join(json.dumps({"body": t}) + "\n" for t in ("one", " ", "two"))
    )
    packed = tmp_path / "p.txt.gz"
    packed.write_bytes(gzip.compress("ünï".encode()))
    documents = read_documents([str(rows), str(packed)], field="body")
    assert [d.text for d in documents] == ["one", "two", "ünï"]
    assert documents[1].location == f"{rows}:3"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.txt", b"good\nbad \xff", r"a.txt:2: byte 0xff is not UTF-8"),
        ("b.txt", "hi".encode("utf-16"), "b.txt is UTF-16"),
        ("c.txt", b" \n\n", "c.txt holds no text"),
        ("d.jsonl", b'{"text": "x"}\n{"story": "y"}', r"d.jsonl:2: field 'text' is no"),
        ("e.jsonl", b'{"text": 3}\n{"text": "y"}', r"e.jsonl:1: field 'text' is no te"),
        ("f.jsonl", b'{"text": "x"}\n{"text"', r"f.jsonl:2: "),
        ("g.bin", b"x", "expected .jsonl"),
    ],
)
def test_unreadable_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_documents([str(tmp_path / name)])


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: .*nothing.txt"):
        read_documents([str(tmp_path / "nothing.txt")])
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        read_documents([str(tmp_path / "folder.txt")])
