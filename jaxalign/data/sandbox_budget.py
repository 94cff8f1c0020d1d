"""The work budget of a chat template, in characters and elements that it makes."""

from typing import Any

from jinja2 import utils

from jaxalign.data.sandbox_filters import charge_format
from jaxalign.data.sandbox_syntax import BudgetExceeded

WORK_LIMIT = 20_000_000  # in characters; some two seconds at most
ELEMENT_WORK, ROUND_WORK = 16, 32  # of an element that is read; of a loop's round
ATOMS = frozenset((int, bool, float, type(None)))


class Budget:
    """The remaining work, and metered versions of the operations that do work.

    Attributes:
      remaining: work that may still be done, in characters.
    """

    remaining = WORK_LIMIT

    def charge(self, work: int) -> None:
        """Subtracts work from the budget, before it is done.

        Raises:
          BudgetExceeded: too little remains.
        """
        self.remaining -= work
        if self.remaining < 0:
            raise BudgetExceeded("it does more work than any template needs")

    def charge_value(self, value: Any) -> Any:
        """Charges for reading all that is in a value; returns the value."""
        kind = type(value)
        if kind is str:
            self.remaining -= ELEMENT_WORK + len(value)
        elif kind in ATOMS:
            self.remaining -= ELEMENT_WORK
        else:
            self.charge_container(value)
        if self.remaining < 0:
            self.charge(0)
        return value

    def charge_container(self, value: Any) -> None:
        """Charges for all that is in a container, as often as it is in there."""
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
            self.remaining -= work
            if self.remaining < 0:
                self.charge(0)

    def charge_scan(self, value: Any) -> Any:
        """Charges for a scan from start to end; returns the value."""
        if hasattr(value, "__len__"):
            self.charge(1 + len(value) // 16)
        return value

    def charge_loop(self, iterable: Any, texts: int) -> Any:
        """Charges for the rounds of a loop; returns what it iterates over.

        Args:
          texts: characters that each round writes.
        """
        if not hasattr(iterable, "__len__"):
            iterable = list(iterable)  # its generator is metered
        self.charge(len(iterable) * (ROUND_WORK + texts))
        return iterable

    def charge_output(self, value: Any) -> Any:
        """Charges for a value that is written; returns the value."""
        if type(value) is not str:
            return self.charge_value(value)
        self.remaining -= len(value)
        if self.remaining < 0:
            self.charge(0)
        return value

    def trim(self, value: Any, characters: str | None = None) -> str:
        """jinja's `trim`, metered."""
        text = str(value)
        self.charge(ELEMENT_WORK + len(text) // 16)
        return text.strip(characters)

    def add(self, left: Any, right: Any) -> Any:
        """`left + right`, metered."""
        if isinstance(left, str | list | tuple):
            self.charge(ELEMENT_WORK + len(left) + len(right))
        elif isinstance(left, int):
            self.charge(ELEMENT_WORK + (left.bit_length() >> 3))
        return left + right

    def concatenate(self, parts: tuple[Any, ...]) -> str:
        """`a ~ b`, metered."""
        return "".join([str(self.charge_value(part)) for part in parts])

    def multiply(self, left: Any, right: Any) -> Any:
        """`left * right`, metered."""
        self.charge(ELEMENT_WORK + product_work(left, right))
        return left * right

    def power(self, left: Any, right: Any) -> Any:
        """`left ** right`, metered."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * max(right, 1)
            self.charge(ELEMENT_WORK + (bits * bits >> 10))
        return left**right

    def modulo(self, left: Any, right: Any) -> Any:
        """`left % right`, metered."""
        if isinstance(left, str):
            charge_format(self, left, right if isinstance(right, tuple) else (right,))
        return left % right


def product_work(left: Any, right: Any) -> int:
    """The work of `left * right`, in characters."""
    if isinstance(left, int) and isinstance(right, int):
        return left.bit_length() * right.bit_length() >> 10
    sized, times = (left, right) if hasattr(left, "__len__") else (right, left)
    return len(sized) * max(int(times), 0) if hasattr(sized, "__len__") else 0
