"""The command that a report shows."""

import dataclasses

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
