"""JSON in pieces: values of a text that is never held as a whole.

Rows that cannot be parsed come as a `MalformedRow`, in the place of the row; only a text
in which no next row can be found is an error of the whole file.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from jaxalign.data.formats.row_limits import MAX_DEPTH, MAX_DIGITS, row_too_long
from jaxalign.data.schemas.checks import MalformedRow

CHUNK_BYTES = 1 << 20
# a text of n characters takes at most 12 n in JSON: all of them escaped pairs
MAX_ESCAPED_LENGTH = 12


class RefusedJSON(ValueError):
    """JSON that can be parsed, and is refused."""


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object.

    Raises:
      Fault: a field that it has twice, or whose value is NaN or infinite.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in row if names.count(name) > 1)
        raise RefusedJSON(f"field {twice[:80]!r} is there twice")
    for name, value in pairs:
        if type(value) in (float, list) and not is_finite(value):
            raise RefusedJSON(
                f"field {name[:80]!r} should be a number or null, not NaN or infinite"
            )
    return row


def is_finite(value: Any) -> bool:
    """Whether a number, or all numbers of a list, are finite; objects were checked."""
    if type(value) is list:
        return all(map(is_finite, value))
    return type(value) is not float or math.isfinite(value)


def parse_int(digits: str) -> int:
    """An integer; of one that no row may hold another such, which is faster."""
    return int(digits[: MAX_DIGITS + 2])


DECODER = json.JSONDecoder(object_pairs_hook=build_object, parse_int=parse_int)


def parse_json_bytes(data: bytes) -> Any:
    """The JSON of a line or a record, or a `MalformedRow` that says what is wrong."""
    try:
        return DECODER.decode(data.decode("utf-8-sig"))
    except Exception as error:
        return malformed_row(error)


def malformed_row(error: Exception) -> MalformedRow:
    """What an error of the decoder says of a row."""
    if isinstance(error, RecursionError):
        return MalformedRow(f"is nested more than {MAX_DEPTH} levels deep")
    if isinstance(error, RefusedJSON):
        return MalformedRow(str(error))
    if isinstance(error, UnicodeDecodeError):
        place = f"byte {error.start + 1}: {error.reason}"
        return MalformedRow(f"is not JSON (not UTF-8: {place})")
    if isinstance(error, json.JSONDecodeError):
        fault = error.msg.removesuffix(" at")
        return MalformedRow(f"is not JSON ({fault} at character {error.pos + 1})")
    raise error


class Window:
    """A sliding window of a text of UTF-8, and the line that it stands on.

    Args:
      limit: characters that one value may take.
    """

    SCALAR = re.compile(r"[^\s,\]}]+")
    SPACE = re.compile(r"[ \t\r\n]*")
    BRACKET = re.compile(r'["\[\]{}]')
    IN_TEXT = re.compile(r'\\.|"', re.DOTALL)

    def __init__(self, path: str, file: Any, limit: int) -> None:
        self.path, self.file, self.limit = path, file, limit
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.at, self.line, self.ended = "", 0, 1, False
        self.passed = 0  # characters

    @property
    def where(self) -> str:
        """The file and the line."""
        return f"{self.path}:{self.line}"

    def fill(self, wanted: int) -> bool:
        """Reads on until so many characters follow; whether they do."""
        if len(self.text) - self.at < wanted and not self.ended:
            parts, missing = [self.text[self.at :]], wanted - len(self.text) + self.at
            while missing > 0 and not self.ended:
                data = self.file.read(CHUNK_BYTES)
                self.ended = not data
                try:
                    parts.append(self.decoder.decode(data, final=self.ended))
                except UnicodeDecodeError as error:
                    before = "".join(parts).count("\n")
                    line = self.line + before + error.object[: error.start].count(b"\n")
                    raise ValueError(
                        f"{self.path}:{line}: is not UTF-8 ({error.reason})"
                    ) from error
                missing -= len(parts[-1])
            self.text, self.at = "".join(parts), 0
        return len(self.text) - self.at >= wanted

    def move(self, end: int) -> None:
        """Goes to a place in the window."""
        self.line += self.text.count("\n", self.at, end)
        self.passed += end - self.at
        self.at = end

    def peek(self) -> str:
        """The next character that is not white space; none at the end."""
        while self.fill(1):
            space = self.SPACE.match(self.text, self.at)
            assert space is not None
            self.move(space.end())
            if self.at < len(self.text):
                return self.text[self.at]
        return ""

    def take(self, wanted: str) -> bool:
        """Goes past a character, if it is the next one."""
        found = self.peek() == wanted
        if found:
            self.move(self.at + 1)
        return found

    def refuse(self, fault: str) -> ValueError:
        """The error of a file that cannot be read on."""
        return ValueError(f"{self.where}: is not JSON ({fault})")

    def value(self) -> Any:
        """The next value, or a `MalformedRow`; the window goes past it.

        Raises:
          ValueError: not JSON, so that no one knows where the next value begins.
        """
        self.peek()
        while True:
            fault, end = None, len(self.text)
            try:
                found, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                fault = error
            except (RefusedJSON, RecursionError) as error:
                self.skip()
                return malformed_row(error)
            if self.ended or not self.is_cut(fault, end):
                break
            if end - self.at > self.limit:
                self.skip()
                return row_too_long(self.limit // MAX_ESCAPED_LENGTH)
            self.fill(2 * (end - self.at) + CHUNK_BYTES)
        if fault is not None:
            self.move(fault.pos)
            raise self.refuse(fault.msg) from fault
        size = end - self.at
        self.move(end)
        return (
            found
            if size <= self.limit
            else row_too_long(self.limit // MAX_ESCAPED_LENGTH)
        )

    def is_cut(self, fault: json.JSONDecodeError | None, end: int) -> bool:
        """Whether a value may go on after the window."""
        if fault is None:
            return end == len(self.text)
        return fault.msg.startswith("Unterminated") or fault.pos > end - 16

    def skip(self) -> None:
        """Goes past a value by its brackets and quotes alone.

        Raises:
          ValueError: the file ends within it.
        """
        depth, in_text = 0, False
        if self.text[self.at] not in '"[{':
            while self.fill(1) and (scalar := self.SCALAR.match(self.text, self.at)):
                self.move(scalar.end())
            return
        while self.fill(2) or self.fill(1):
            pattern = self.IN_TEXT if in_text else self.BRACKET
            token = pattern.search(self.text, self.at)
            if token is None:  # a backslash stays, with what it escapes in the next
                last = len(self.text)
                cut = in_text and self.text[-1] == "\\" and last - 1 > self.at
                self.move(last - 1 if cut else last)
                continue
            self.move(token.end())
            if token[0] == '"':
                in_text = not in_text
            elif not in_text:
                depth += 1 if token[0] in "[{" else -1
            if depth <= 0 and not in_text:
                return
        raise self.refuse("it ends within a value")


def read_array(window: Window) -> Iterator[tuple[str, Any]]:
    """The entries of a list, each with the line that it begins on."""
    window.take("[")
    if window.take("]"):
        return
    while True:
        if not window.peek():
            raise window.refuse("the list has no end")
        where = window.where
        yield where, window.value()
        if window.take("]"):
            return
        if not window.take(","):
            raise window.refuse("expecting ',' or a last ']'")
