"""Progress of a run whose output is a file: lines, where a bar would say nothing."""

import pytest
import rich
from rich.console import Console

from jaxalign.runtime import progress


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def lines(monkeypatch, clock, seconds, *, terminal):
    """What is shown of a run whose steps end at these times."""
    made = Console(width=100, force_terminal=terminal, record=True, color_system=None)
    monkeypatch.setattr(rich, "_console", made)
    bar = progress.ProgressBar()
    bar.start("dpo", 0, len(seconds))
    for i, second in enumerate(seconds):
        clock.now = 100.0 + second
        bar.advance(first=i == 0)
        bar.show(f"loss {i}")
    bar.stop()
    text = made.export_text()
    return [line for line in text.splitlines() if " of 6 steps  " in line]


def test_lines_half_a_minute_apart_where_the_output_is_no_terminal(monkeypatch, clock):
    found = lines(monkeypatch, clock, [5, 29, 31, 40, 60, 61], terminal=False)
    assert found == ["dpo: 3 of 6 steps  loss 2", "dpo: 6 of 6 steps  loss 5"]


def test_no_lines_beside_the_bar_of_a_terminal(monkeypatch, clock):
    assert not lines(monkeypatch, clock, [31, 62, 93, 124, 155, 186], terminal=True)
