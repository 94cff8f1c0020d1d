"""A flag of a list that is there twice: both values count."""

import dataclasses
from typing import Annotated, ClassVar

import pytest
import tyro

from jaxalign.runtime import cli, flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner(flags.ValidatedConfig):
    """Flags of a stage."""

    RANGES: ClassVar = {"shifts": flags.Range(-9, 9)}
    shifts: tuple[float, ...] = (1.0,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """Flags of a program."""

    filter: tuple[str, ...] = ()
    split_by: tuple[str, ...] = ()
    group: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    beta: float = 0.1
    inner: Inner = Inner()


def parse(line):
    return cli.parse_arguments(Config, line.split())


@pytest.mark.parametrize(
    "line",
    [
        "--filter a b --split-by x y",
        "--filter a --filter b --split-by x --split_by y",
        "--filter=a --beta 0.1 --split-by x --filter b --split-by=y",
        "--filter a --split_by=x --split_by=y --filter=b",
    ],
)
def test_values_of_a_list_are_joined_in_their_order(line):
    assert parse(line) == Config(filter=("a", "b"), split_by=("x", "y"))


def test_other_flags_are_as_they_were():
    """The last number counts; flags that append do so; numbers may be negative."""
    assert parse("--beta 0.2 --beta 0.3").beta == 0.3
    assert parse("--group a=1 --group b=2").group == ("a=1", "b=2")
    assert parse("--inner.shifts -1 --inner.shifts 2").inner.shifts == (-1.0, 2.0)
    assert parse("").filter == ()
