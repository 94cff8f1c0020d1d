"""Incremental JSON parser for files larger than memory.

A value that cannot be parsed becomes a `MalformedRow` in its place. Only a text in
which the next value cannot be found raises an error for the whole file.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from jaxalign.data.formats.row_limits import MAX_DEPTH, MAX_DIGITS, row_too_long
from jaxalign.data.row_errors import MalformedRow

CHUNK_BYTES = 1 << 20
# a text of n characters has at most 12 n in JSON: all of them escaped surrogate pairs
MAX_ESCAPED_LENGTH = 12


class RefusedJSON(ValueError):
    """Well-formed JSON with a duplicate field, or a number that is not finite."""


def build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of (name, value) pairs.

    Raises:
      RefusedJSON: a duplicate field, or one that is NaN or infinite.
    """
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        duplicate = next(name for name in row if names.count(name) > 1)
        raise RefusedJSON(f"field {duplicate[:80]!r} is there twice")
    for name, value in pairs:
        if type(value) in (float, list) and not is_finite(value):
            raise RefusedJSON(
                f"field {name[:80]!r} is NaN or infinite; expected a finite number or "
                "null"
            )
    return row


def is_finite(value: Any) -> bool:
    """Whether a number, or all numbers in a list, are finite.

    Objects in a list were checked when they were built.
    """
    if type(value) is list:
        return all(map(is_finite, value))
    return type(value) is not float or math.isfinite(value)


def parse_int(digits: str) -> int:
    """Parse an integer; of one that is too large for any row, only the first digits.

    The result is still too large, and the parsing takes linear time.
    """
    return int(digits[: MAX_DIGITS + 2])


DECODER = json.JSONDecoder(object_pairs_hook=build_object, parse_int=parse_int)


def parse_json_bytes(data: bytes) -> Any:
    """Parse a line or a record, or return a `MalformedRow`."""
    try:
        return DECODER.decode(data.decode("utf-8-sig"))
    except Exception as error:
        return malformed_row(error)


def malformed_row(error: Exception) -> MalformedRow:
    """Convert an error of the decoder; any other error is raised again."""
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
    """A sliding window over UTF-8 text, with its line number.

    Args:
      path: name of the file in error messages.
      file: a binary file.
      limit: largest number of characters of one value.

    Attributes:
      text, position: the characters in memory, and the index of the next one.
      line: line number of the next character, from 1.
      consumed: number of characters before the next one.
      is_at_end: no characters follow those in memory.
    """

    SCALAR = re.compile(r"[^\s,\]}]+")
    SPACE = re.compile(r"[ \t\r\n]*")
    BRACKET = re.compile(r'["\[\]{}]')
    IN_TEXT = re.compile(r'\\.|"', re.DOTALL)

    def __init__(self, path: str, file: Any, limit: int) -> None:
        self.path, self.file, self.limit = path, file, limit
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text, self.position, self.is_at_end = "", 0, False
        self.line, self.consumed = 1, 0

    @property
    def location(self) -> str:
        """The file and the line."""
        return f"{self.path}:{self.line}"

    def fill(self, count: int) -> bool:
        """Read until `count` characters follow, and return whether they do.

        Raises:
          ValueError: the file is not UTF-8; names the line.
        """
        missing = count - (len(self.text) - self.position)
        if missing > 0 and not self.is_at_end:
            parts = [self.text[self.position :]]
            while missing > 0 and not self.is_at_end:
                data = self.file.read(CHUNK_BYTES)
                self.is_at_end = not data
                try:
                    parts.append(self.decoder.decode(data, final=self.is_at_end))
                except UnicodeDecodeError as error:
                    before = "".join(parts).count("\n")
                    line = self.line + before + error.object[: error.start].count(b"\n")
                    raise ValueError(
                        f"{self.path}:{line}: is not UTF-8 ({error.reason})"
                    ) from error
                missing -= len(parts[-1])
            self.text, self.position = "".join(parts), 0
        return len(self.text) - self.position >= count

    def advance(self, end: int) -> None:
        """Move the position to an index of `text`."""
        self.line += self.text.count("\n", self.position, end)
        self.consumed += end - self.position
        self.position = end

    def peek(self) -> str:
        """Skip white space and return the next character; "" at the end."""
        while self.fill(1):
            space = self.SPACE.match(self.text, self.position)
            assert space is not None
            self.advance(space.end())
            if self.position < len(self.text):
                return self.text[self.position]
        return ""

    def accept(self, char: str) -> bool:
        """Skip `char` if it is the next character, and return whether it is."""
        is_next = self.peek() == char
        if is_next:
            self.advance(self.position + 1)
        return is_next

    def error(self, fault: str) -> ValueError:
        """The error of a file that cannot be read on."""
        return ValueError(f"{self.location}: is not JSON ({fault})")

    def read_value(self) -> Any:
        """Parse and skip the next value; a `MalformedRow` if it is refused or too long.

        Raises:
          ValueError: not JSON, so that the next value cannot be found.
        """
        self.peek()
        while True:
            fault, end = None, len(self.text)
            try:
                value, end = DECODER.raw_decode(self.text, self.position)
            except json.JSONDecodeError as error:
                fault = error
            except (RefusedJSON, RecursionError) as error:
                self.skip_value()
                return malformed_row(error)
            if self.is_at_end or not self.may_continue(fault, end):
                break
            if end - self.position > self.limit:
                self.skip_value()
                return row_too_long(self.limit // MAX_ESCAPED_LENGTH)
            self.fill(2 * (end - self.position) + CHUNK_BYTES)
        if fault is not None:
            self.advance(fault.pos)
            raise self.error(fault.msg) from fault
        size = end - self.position
        self.advance(end)
        if size > self.limit:
            return row_too_long(self.limit // MAX_ESCAPED_LENGTH)
        return value

    def may_continue(self, fault: json.JSONDecodeError | None, end: int) -> bool:
        """Whether a value, or a fault in it, may be due to the end of the window."""
        if fault is None:
            return end == len(self.text)
        return fault.msg.startswith("Unterminated") or fault.pos > end - 16

    def skip_value(self) -> None:
        """Skip a value by its brackets and quotes, without parsing it.

        Raises:
          ValueError: the file ends within the value.
        """
        depth, in_text = 0, False
        if self.text[self.position] not in '"[{':
            while self.fill(1):
                scalar = self.SCALAR.match(self.text, self.position)
                if scalar is None:
                    break
                self.advance(scalar.end())
            return
        while self.fill(2) or self.fill(1):
            pattern = self.IN_TEXT if in_text else self.BRACKET
            token = pattern.search(self.text, self.position)
            if token is None:  # keep a last backslash: it escapes the next character
                last = len(self.text)
                is_escape = (
                    in_text and self.text[-1] == "\\" and last - 1 > self.position
                )
                self.advance(last - 1 if is_escape else last)
                continue
            self.advance(token.end())
            if token[0] == '"':
                in_text = not in_text
            elif not in_text:
                depth += 1 if token[0] in "[{" else -1
            if depth <= 0 and not in_text:
                return
        raise self.error("it ends within a value")


def read_array(window: Window) -> Iterator[tuple[str, Any]]:
    """Read the entries of a list, each with the location of its first line.

    Raises:
      ValueError: the list does not end, or has something else than a comma.
    """
    window.accept("[")
    if window.accept("]"):
        return
    while True:
        if not window.peek():
            raise window.error("the list has no end")
        location = window.location
        yield location, window.read_value()
        if window.accept("]"):
            return
        if not window.accept(","):
            raise window.error("expecting ',' or a last ']'")
