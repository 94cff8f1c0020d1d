"""What a chat template may do, counted: the characters and elements that it makes."""

from typing import Any

from jinja2 import utils

from jaxalign.data.sandbox_filters import charge_format
from jaxalign.data.sandbox_syntax import BudgetExceeded

WORK_LIMIT = 20_000_000  # in characters that are made; some two seconds at most
ELEMENT_WORK, ROUND_WORK = 16, 32  # an element that is looked at, a loop's round
ATOMS = frozenset((int, bool, float, type(None)))


class Budget:
    """Work that may still be done, and the operations that do it.

    Attributes:
      left: what may still be done.
    """

    left = WORK_LIMIT

    def spend(self, work: int) -> None:
        """Counts work, before it is done."""
        self.left -= work
        if self.left < 0:
            raise BudgetExceeded("it does more work than any template needs")

    def weighed(self, value: Any) -> Any:
        """The value, once all that is in it is counted."""
        kind = type(value)
        if kind is str:
            self.left -= ELEMENT_WORK + len(value)
        elif kind in ATOMS:
            self.left -= ELEMENT_WORK
        else:
            self.weigh(value)
        if self.left < 0:
            self.spend(0)
        return value

    def weigh(self, value: Any) -> None:
        """Counts all that is in a container, as often as it is in there."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            kind = type(each)
            work = ELEMENT_WORK
            if isinstance(each, str | bytes):
                work += len(each)
            elif kind is dict:
                waiting += each.keys()
                waiting += each.values()
                work += ELEMENT_WORK * len(each)
            elif kind is list or kind is tuple or kind is set:
                waiting += each
                work += ELEMENT_WORK * len(each)
            elif kind is utils.Namespace:
                waiting.append(each._Namespace__attrs)
            self.left -= work
            if self.left < 0:
                self.spend(0)

    def scanned(self, value: Any) -> Any:
        """The value, that is read from its start to its end."""
        if hasattr(value, "__len__"):
            self.spend(1 + len(value) // 16)
        return value

    def trimmed(self, value: Any, characters: str | None = None) -> str:
        """jinja's `trim`."""
        text = str(value)
        self.spend(ELEMENT_WORK + len(text) // 16)
        return text.strip(characters)

    def counted(self, iterable: Any, texts: int) -> Any:
        """What a loop goes through, each round counted; `texts`: written in each."""
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)  # what makes it is counted
        self.spend(len(iterable) * (ROUND_WORK + texts))
        return iterable

    def output(self, value: Any) -> Any:
        """A value that is written."""
        if type(value) is not str:
            return self.weighed(value)
        self.left -= len(value)
        if self.left < 0:
            self.spend(0)
        return value

    def added(self, left: Any, right: Any) -> Any:
        """`left + right`."""
        if isinstance(left, str | list | tuple):
            self.spend(ELEMENT_WORK + len(left) + len(right))
        elif isinstance(left, int):
            self.spend(ELEMENT_WORK + (left.bit_length() >> 3))
        return left + right

    def concatenated(self, parts: tuple[Any, ...]) -> str:
        """`a ~ b`."""
        return "".join([str(self.weighed(part)) for part in parts])

    def multiplied(self, left: Any, right: Any) -> Any:
        """`left * right`."""
        self.spend(ELEMENT_WORK + product_work(left, right))
        return left * right

    def raised(self, left: Any, right: Any) -> Any:
        """`left ** right`."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * max(right, 1)
            self.spend(ELEMENT_WORK + (bits * bits >> 10))
        return left**right

    def modulo(self, left: Any, right: Any) -> Any:
        """`left % right`."""
        if isinstance(left, str):
            charge_format(self, left, right if isinstance(right, tuple) else (right,))
        return left % right


def product_work(left: Any, right: Any) -> int:
    """The work of `left * right`."""
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() * right.bit_length() >> 10
    sized, times = (left, right) if hasattr(left, "__len__") else (right, left)
    return len(sized) * max(int(times), 0) if hasattr(sized, "__len__") else 0
