"""The command that a report shows."""

import dataclasses

from jaxalign.runtime import flags
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    file: str
    names: tuple[str, ...] = ()
    fast: bool = True
    beta: float = 0.5


def test_flags_that_are_no_defaults_are_shown_and_quoted():
    config = Config(file="my votes.csv", names=("a", "b"), fast=False, out="x", seed=0)
    assert config_command(config, "experiments.arena") == (
        "python -m experiments.arena --file 'my votes.csv' --names a b --no-fast"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(ReportConfig):
    seeds: int = flags.resumable(1)
    rows: int = flags.resumable(64)


def test_more_seeds_are_other_numbers_though_they_continue_a_run():
    config = Study(seeds=3, rows=8, resume=True)
    assert config_command(config, "x") == "python -m x --seeds 3"
