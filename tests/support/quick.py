"""Which of a test's cases each run takes, while the others wait for `-m slow`."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def only(quick: Container[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases as parameters, all but the quick ones marked slow.

    A case of several arguments is a tuple.
    """

    def marked(case: Any) -> Any:
        values = case if isinstance(case, tuple) else (case,)
        return pytest.param(*values, marks=() if case in quick else pytest.mark.slow)

    return [marked(case) for case in cases]
