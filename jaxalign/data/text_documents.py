"""Plain texts as documents: text files, and a text field of rows."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from jaxalign.data.formats import file_io, files
from jaxalign.data.formats.json_rows import refuse_encodings
from jaxalign.data.formats.row_limits import MAX_ROW_CHARS

Layout = Literal["file", "lines", "paragraphs", "stories"]
"""What a document of a text file is: the whole file, a line, what stands between empty
lines, or a story of TinyStories' layout: single line breaks separate stories, and an
empty line is a line break inside one."""
SEPARATORS = {
    "file": r"(?!)",
    "lines": r"\n",
    "paragraphs": r"\n\s*\n",
    "stories": r"(?<!\n)\n(?!\n)",
}
TEXT_ENDINGS = (".txt", ".md", ".text")


class Document(NamedTuple):
    """A text, the file that it is from, and its place there (FILE:LINE).

    Attributes:
      fields: the other fields of its row; of a text file none.
    """

    text: str
    file: str
    location: str
    fields: Mapping[str, Any] = {}


def read_documents(
    paths: Iterable[str],
    layout: Layout = "file",
    *,
    field: str = "text",
    max_row_chars: int = MAX_ROW_CHARS,
) -> list[Document]:
    """Read the documents of text files and of files of rows; empty ones are left out.

    Args:
      paths: text files (.txt, .md), or files of rows in any format of
        `formats.files`, each row a document.
      layout: what a document of a text file is.
      field: the field of rows that holds the text.
      max_row_chars: length limit of a row.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file that cannot be read or holds no text, or a row without the
        field; names the file and the line.
    """
    documents = []
    for path in paths:
        if is_text_file(path):
            found = list(split_text(read_text(path), path, layout))
        else:
            found = list(row_documents(path, field, max_row_chars))
        if not found:
            raise ValueError(f"{path} holds no text")
        documents += found
    return documents


def is_text_file(path: str) -> bool:
    """Whether a file is plain text by its name, compressed or not."""
    name = path.lower()
    for compression in file_io.COMPRESSIONS:
        name = name.removesuffix(compression)
    return name.endswith(TEXT_ENDINGS)


def read_text(path: str) -> str:
    """The text of a UTF-8 file, with line breaks as LF and without a byte-order mark.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a folder, or not UTF-8 text.
    """
    if files.is_folder(path):
        raise ValueError(f"{path} is a folder; expected a file")
    with file_io.open_binary(path) as file:
        data: bytes = file.read()
    refuse_encodings(path, data[:64])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8: save the file "
            "as UTF-8 text"
        ) from error
    return text.replace("\r\n", "\n")


def split_text(text: str, path: str, layout: Layout = "file") -> Iterator[Document]:
    r"""The documents of a text that are not blank.

    >>> [d.text for d in split_text("a\n\nb\nc\n", "f.txt", "stories")]
    ['a\nb', 'c']
    >>> [d.location for d in split_text("a\n\nb\nc\n", "f.txt", "lines")]
    ['f.txt:1', 'f.txt:3', 'f.txt:4']
    """
    start = 0
    ends = [(m.start(), m.end()) for m in re.finditer(SEPARATORS[layout], text)]
    line = 1
    for stop, after in [*ends, (len(text), len(text))]:
        part = text[start:stop]
        if part.strip():
            location = f"{path}:{line}"
            if layout == "stories":
                part = part.replace("\n\n", "\n").strip()
            yield Document(part, path, path if layout == "file" else location)
        line += text.count("\n", start, after)
        start = after


def row_documents(path: str, field: str, max_row_chars: int) -> Iterator[Document]:
    """The texts of a field of a file's rows.

    Raises:
      ValueError: a malformed row, or one whose field is missing or no text.
    """
    for location, row in files.read_rows(path, max_row_chars=max_row_chars):
        if isinstance(row, Exception):
            raise ValueError(f"{location}: {row}")
        text = row.get(field) if isinstance(row, dict) else None
        if not isinstance(text, str):
            has = ", ".join(map(repr, list(row)[:8])) if isinstance(row, dict) else row
            raise ValueError(
                f"{location}: field {field!r} is no text (the row has {has}): --field "
                "names the field that holds the text"
            )
        if text.strip():
            others = {name: value for name, value in row.items() if name != field}
            yield Document(text, path, location, others)
