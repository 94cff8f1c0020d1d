"""The flag that shows numbers for parts of the rows, by any of their fields."""

import dataclasses
from collections.abc import Iterable

from jaxalign.runtime import flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitFlags(flags.ValidatedConfig):
    """By which fields of the rows numbers are shown as well."""

    split_by: tuple[str, ...] = ()
    """Fields of the rows, with commas between them, such as category,meta.source: the
    numbers of the rows of each value are shown as well."""

    def __post_init__(self) -> None:
        """Takes names apart that stand in one text."""
        object.__setattr__(self, "split_by", split_fields(self.split_by))
        super().__post_init__()


def split_fields(given: str | Iterable[str]) -> tuple[str, ...]:
    """The names of fields, each once, from texts with commas in them.

    >>> split_fields("category, meta.source"), split_fields(["a,b", "a"])
    (('category', 'meta.source'), ('a', 'b'))
    """
    texts = [given] if isinstance(given, str) else given
    parts = [part.strip() for text in texts for part in text.split(",")]
    return tuple(dict.fromkeys(filter(None, parts)))
