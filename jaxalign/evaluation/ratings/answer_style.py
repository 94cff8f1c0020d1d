"""Features of an answer's style: its length and its Markdown."""

import re

import numpy as np

FEATURES = ("length", "headings", "list items", "bold")
"""The columns of `style_counts`."""
CODE = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.M | re.S)
HEADING = re.compile(r"^ {0,3}#{1,6}\s+\S", re.M)
LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])\s+\S", re.M)
BOLD = re.compile(r"\*\*(?=\S)[^*\n]+?\*\*|(?<!\w)__(?=\S)[^_\n]+?__(?!\w)")


def style_counts(text: str) -> tuple[int, int, int, int]:
    """Characters of a text, and its headings, list items and bold passages.

    Markdown in fenced code is not counted, its characters are.

    Reference: Li et al. 2024, "Does style matter?", the blog of Chatbot Arena.

    >>> style_counts("# Title\\n- **one**\\n- two\\n```\\n# no heading\\n```")
    (44, 1, 2, 1)
    """
    plain = CODE.sub("", text)
    markdown = (HEADING, LIST_ITEM, BOLD)
    headings, items, bold = (len(pattern.findall(plain)) for pattern in markdown)
    return len(text), headings, items, bold


def style_differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Standardized relative differences of two answers' features [N J].

    x = (f_a - f_b) / (f_a + f_b), 0 where both are 0;   x / sd(x)

    Not centered, so that 0 stays "of equal style", where ratings are read. A feature
    without spread is 0 everywhere.

    Args:
      first, second: counts, not negative, of the answers a and b [N J].

    Reference: Li et al. 2024, "Does style matter?", the blog of Chatbot Arena.

    >>> x = style_differences(np.array([[3], [0], [1]]), np.array([[1], [0], [3]]))
    >>> x.ravel().tolist()  # 0.5, 0, -0.5 with a deviation of 0.5
    [1.0, 0.0, -1.0]
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    total = first + second
    relative = (first - second) / np.where(total > 0, total, 1.0)
    spread = relative.std(axis=0, ddof=1) if len(relative) > 1 else np.zeros(1)
    return relative / np.where(spread > 0, spread, np.inf)
