"""samples.md: what a person finds on the page of a run's samples."""

from jaxalign.runtime import samples_log
from jaxalign.runtime.samples_page import LAST, SamplesPage


def sample(answer, prompt="2 + 2?", **numbers):
    row = {"prompt": [{"role": "user", "content": prompt}], "answer": answer}
    return row | {"rewards": {"gsm8k": 1.0, "brief": 0.25}, **numbers}


class NoLoggers:
    """Loggers that take texts and keep none."""

    def text(self, step, rows):
        pass


def write(folder, steps, *, step, show_every=0):
    log = samples_log.SamplesLog(show_every, NoLoggers())
    log.open(folder, step=step)
    for number in steps:
        log.write(number, [sample(f"it is {number}"), sample(f"again {number}")])
    return log


def headings(folder):
    lines = (folder / "samples.md").read_text().splitlines()
    return [line for line in lines if line.startswith("## ")]


def test_the_page_has_the_first_iteration_and_the_last_newest_first(tmp_path):
    write(tmp_path, range(9), step=0).close()
    assert LAST == 4
    assert headings(tmp_path) == [f"## Step {n}" for n in (8, 7, 6, 5, 0)]


def test_the_page_of_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        write(folder, range(9), step=0).close()
    write(killed, range(7, 9), step=7).close()
    page = (whole / "samples.md").read_text()
    assert (killed / "samples.md").read_text() == page and "again 6" in page


def test_the_page_is_there_while_the_run_trains(tmp_path):
    """Written with every table that is shown, here of every second step."""
    log = write(tmp_path, range(4), step=0, show_every=2)
    assert headings(tmp_path)[0] == "## Step 2"
    log.close()
    assert headings(tmp_path)[0] == "## Step 3"


def test_a_run_without_a_step_has_no_page(tmp_path):
    write(tmp_path, [], step=0).close()
    assert not (tmp_path / "samples.md").exists()


def test_a_prompt_is_there_once_with_its_answers_in_full_and_their_numbers(tmp_path):
    page = SamplesPage(tmp_path)
    page.add(3, [sample("x" * 900, kl=-1e-7, ended=False, logp_gap=None)])
    page.add(3, [sample("```python\n1\n```\x1b[31m"), sample("no", "Why?")])
    page.write()
    text = (tmp_path / "samples.md").read_text()
    assert text.count("2 + 2?") == 1 and text.count("### Prompt") == 2
    assert "**gsm8k 1**, **brief 0.25**, kl 0, ended no, logp gap -" in text
    assert "x" * 900 in text
    # the answer's own fence is inside of a longer one; nothing moves the cursor
    assert "````text\n```python\n1\n```[31m\n````" in text
