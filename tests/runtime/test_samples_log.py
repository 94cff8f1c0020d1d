"""samples.jsonl continues without double lines; the table shows what can be read."""

import json

import pytest
import rich
from rich.console import Console

from jaxalign.runtime import samples_log


class Texts:
    """Loggers that keep the steps and rows of their texts."""

    def __init__(self):
        self.steps, self.rows = [], []

    def text(self, step, rows):
        self.steps.append(step)
        self.rows = rows


def sample(answer, prompt="2 + 2?", **numbers):
    row = {"prompt": [{"role": "user", "content": prompt}], "answer": answer}
    return row | {"rewards": {"reward": 1.0}, **numbers}


def write(folder, steps, *, step, show_every=0):
    texts = Texts()
    log = samples_log.SamplesLog(show_every, texts)
    log.open(folder, step=step)
    for number in steps:
        log.write(number, [sample(f"{number}"), sample(f"{number}, again")])
    log.close()
    return texts


def test_a_resumed_file_is_that_of_an_uninterrupted_run(tmp_path):
    """Killed in step 5 with a line that is cut off, resumed from step 3."""
    write(tmp_path, range(6), step=0)
    path = tmp_path / "samples.jsonl"
    whole = path.read_text()
    assert [json.loads(x)["step"] for x in whole.splitlines()] == sorted(
        [*range(6)] * 2
    )
    path.write_text(whole[:-20])
    write(tmp_path, range(3, 6), step=3)
    assert path.read_text() == whole
    write(tmp_path, [], step=0)  # a new run in the folder
    assert path.read_text() == ""


@pytest.fixture
def console(monkeypatch):
    """A function that replaces the console; gives what is printed."""

    def replace(terminal):
        made = Console(
            width=100, force_terminal=terminal, record=True, color_system=None
        )
        monkeypatch.setattr(rich, "_console", made)
        return made

    return replace


@pytest.mark.parametrize(
    "show_every, terminal, shown, logged",
    [
        (None, True, 2, [0, 10]),  # by default every 10 steps
        (None, False, 0, [0, 10]),  # ... at the console only if that is a terminal
        (5, False, 3, [0, 5, 10]),  # where the flag is given, anywhere
        (0, True, 0, []),
    ],
)
def test_where_and_how_often_samples_are_shown(
    tmp_path, console, show_every, terminal, shown, logged
):
    made = console(terminal)
    texts = write(tmp_path, range(12), step=0, show_every=show_every)
    assert texts.steps == logged
    assert made.export_text().count("samples of step") == shown


def test_the_table_shows_a_prompt_once_and_numbers(tmp_path, console):
    made = console(False)
    rows = [
        sample("four \x1b[31m[red]", kl=0.12345, ended=True, tokens=2),
        sample("x" * 900, kl=None, ended=False, tokens=300),
        sample("Paris", prompt="France?", kl=-1e-7, ended=True, tokens=1),
    ]
    samples_log.show(7, samples_log.table_rows(rows))
    text = made.export_text()
    assert text.count("2 + 2?") == 1 and text.count("France?") == 1
    assert "four [31m[red]" in text  # without the escape that would color it
    assert 200 < text.count("x") < 330 and "0.123" in text and " - " in text
    assert max(map(len, text.splitlines())) <= 100


def test_rows_of_one_set_of_columns():
    """Rewards by name stand in front; what a row lacks is None."""
    rows = [sample("a", advantage=0.5), sample("b") | {"rewards": {"gsm8k": 1.0}}]
    found = samples_log.table_rows(rows)
    names = ["prompt", "answer", "reward", "advantage", "gsm8k"]
    assert [list(row) for row in found] == [names, names]
    assert list(found[1].values()) == ["2 + 2?", "b", None, None, 1.0]


def test_roles_are_shown_where_there_are_several():
    several = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
    assert samples_log.prompt_text(several) == "system: Be brief.\nuser: Hi"
    assert samples_log.prompt_text(several[1:]) == "Hi"
