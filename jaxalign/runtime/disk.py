"""Recognizes a full disk among the errors of libraries."""

import errno

FULL = (errno.ENOSPC, errno.EDQUOT)
WORDS = ("No space left on device", "Disk quota exceeded")


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or one of its causes, is that of a full disk.

    >>> is_full(OSError(errno.ENOSPC, "No space left on device"))
    True
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(words in str(error) for words in WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
