"""Opening of files, local or in a bucket, plain or compressed.

Compressed files are decompressed piece by piece, so that memory does not depend on the
size that a small file expands to.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import fsspec

from jaxalign import lazy, messages

if TYPE_CHECKING:
    import pyarrow as pa
else:
    pa = lazy.module("pyarrow")


def open_zstd(raw: Any) -> Any:
    """Open a zstd stream for decompression."""
    return pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")


COMPRESSIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    ".gz": ("gzip", gzip.open),
    ".bz2": ("bzip2", bz2.open),
    ".xz": ("xz", lzma.open),
    ".zst": ("zstd", open_zstd),
}


def file_system(path: str) -> tuple[Any, str]:
    """File system of a path, and the path within it.

    Raises:
      ValueError: an unknown scheme, or one whose package is not installed.
    """
    try:
        return fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{path} cannot be reached: {error}") from error


class DamagedFile(ValueError):
    """A compressed file that cannot be decompressed to its end.

    Attributes:
      fault: the message without the path.
    """

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"{path} {fault}")
        self.fault = fault


class DecompressedStream(io.RawIOBase):
    """A decompressed stream that raises `DamagedFile` for every error of its codec.

    Args:
      path: name of the file in error messages.
      kind: name of the compression.
      stream: the stream of the codec's library.
    """

    def __init__(self, path: str, kind: str, stream: Any) -> None:
        super().__init__()
        self.path, self.kind, self.stream = path, kind, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, and return the number of bytes.

        Raises:
          DamagedFile: names the file.
        """
        try:
            data = self.stream.read1(len(buffer))
        except (
            *(EOFError, zlib.error, lzma.LZMAError, OSError, ValueError),
            pa.ArrowException,
        ) as error:
            reason = messages.one_line(error, 160)
            fault = f"is not a complete {self.kind} file: {reason}"
            raise DamagedFile(self.path, fault) from error
        buffer[: len(data)] = data
        return len(data)


def read_head(path: str, size: int) -> bytes:
    """The first `size` bytes of a file; fewer if it is shorter or damaged."""
    data = b""
    with open_binary(path) as file, contextlib.suppress(DamagedFile):
        while len(data) < size and (more := file.read(256)):
            data += more
    return data


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[Any]:
    """Open a file as bytes, decompressed according to the ending of its name."""
    ending = next((end for end in COMPRESSIONS if path.lower().endswith(end)), None)
    with fsspec.open(path, "rb") as raw:
        if ending is None:
            yield raw
            return
        kind, decompress = COMPRESSIONS[ending]
        with decompress(raw) as stream:
            yield io.BufferedReader(DecompressedStream(path, kind, stream), 1 << 18)
