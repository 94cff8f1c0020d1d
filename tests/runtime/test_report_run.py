"""Reports: folders, resumption, and rows that are continued where they ended."""

import dataclasses
import json

import numpy as np
import pytest

from jaxalign.evaluation import page as pages
from jaxalign.evaluation.intervals import Gain, Interval
from jaxalign.evaluation.page import Page, Section, SideBySide
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    file: str = "votes.csv"


def test_a_report_is_written_and_its_folder_refused_a_second_time(tmp_path):
    config = Config(out=tmp_path / "report")
    numbers = {"accuracy": Interval(0.5, 0.4, 0.6), "gain": float("nan"), "models": 2}
    with ReportRun(config, "arena") as run:
        run.note("1 row left out")
        run.finish(numbers)
    written = json.loads((config.out / "numbers.json").read_text())
    assert written["accuracy"] == {"mean": 0.5, "low": 0.4, "high": 0.6}
    assert written["gain"] is None and written["models"] == 2
    assert json.loads((config.out / "notes.json").read_text()) == ["1 row left out"]
    assert json.loads((config.out / "config.json").read_text())["file"] == "votes.csv"
    with pytest.raises(ValueError, match="already holds a report"):
        with ReportRun(config, "arena"):
            pass
    with ReportRun(dataclasses.replace(config, resume=True), "arena"):
        pass
    other = dataclasses.replace(config, resume=True, file="others.csv")
    with pytest.raises(ValueError, match="--file 'votes.csv' then"):
        with ReportRun(other, "arena"):
            pass


def test_a_refused_report_leaves_no_folder(tmp_path):
    config = Config(out=tmp_path / "deep" / "report")
    with pytest.raises(ValueError, match="no battles"):
        with ReportRun(config, "arena"):
            raise ValueError("no battles")
    assert not (tmp_path / "deep").exists()


def test_a_page_has_its_tables_texts_and_no_markup_of_the_answers(tmp_path):
    answers = SideBySide(["2 < 3?"], {"a": ["<b>yes</b>"], "b": ["no"]}, ["a wins"])
    rows = [{"model": "a|b", "win rate": Interval(0.5, 0.4, 0.6)}, {"model": "c"}]
    sections = [
        Section("Win rates", "One.\n\nTwo.", rows),
        Section("x", answers=answers),
    ]
    with ReportRun(Config(out=tmp_path), "compare") as run:
        run.publish(Page("Judge", sections, "python -m experiments.compare"))
    html = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;yes&lt;/b&gt;" in html and "<b>yes" not in html
    assert "<p>One.</p>" in html and "<p>Two.</p>" in html
    assert '<td class="number">0.500 ± 0.100</td>' in html
    markdown = (tmp_path / "report.md").read_text()
    assert r"| a\|b | 0.500 ± 0.100 |" in markdown and "| c | - |" in markdown
    assert "python -m experiments.compare" in markdown


def test_a_page_is_read_as_it_was_written(tmp_path):
    image = tmp_path / "plots" / "a.png"
    rows = [
        {"n": np.int64(2), "gain": Gain(0.5, 0.4, 0.6), "x": Interval(1.0, 0.0, 2.0)}
    ]
    page = pages.Page("T", [Section("s", "text", rows, image)], "command")
    folder = tmp_path / "r"
    values = json.loads(json.dumps(pages.to_json(page, folder)))
    again = pages.section_from_json(values["sections"][0], folder)
    assert again.rows == rows and isinstance(again.rows[0]["gain"], Gain)
    assert again.image.resolve() == image.resolve() and again.text == "text"


class TestResumableRows:
    def rows(self, items):
        return [{"item": i} for i in items for _ in range(i % 2 + 1)]

    def test_rows_do_not_depend_on_chunks(self, tmp_path):
        whole = self.rows(range(7))
        for chunk in (1, 3, 100):
            path = tmp_path / f"{chunk}.jsonl"
            made = resumable_rows(path, 7, self.rows, chunk=chunk, resume=False)
            lines = path.read_text().splitlines()
            assert made == whole == [json.loads(line) for line in lines]
            assert not path.with_name(path.name + ".partial").exists()

    def test_what_was_made_is_not_made_again(self, tmp_path):
        path, seen = tmp_path / "rows.jsonl", []

        def make(items, stop=5):
            seen.extend(items)
            if stop in items:
                raise KeyboardInterrupt
            return self.rows(items)

        with pytest.raises(KeyboardInterrupt):
            resumable_rows(path, 7, make, chunk=2, resume=False)
        assert seen == [0, 1, 2, 3, 4, 5] and not path.exists()
        partial = path.with_name("rows.jsonl.partial")
        with partial.open("a") as file:  # killed while it wrote a chunk
            file.write('{"item": 4}\n{"it')
        seen.clear()
        make_all = lambda items: make(items, stop=None)
        made = resumable_rows(path, 7, make_all, chunk=2, resume=True)
        assert made == self.rows(range(7)) and seen == [4, 5, 6]
        seen.clear()
        assert resumable_rows(path, 7, make_all, chunk=2, resume=True) == made
        assert not seen

    def test_without_resume_all_is_made_anew(self, tmp_path):
        path = tmp_path / "rows.jsonl"
        resumable_rows(path, 2, self.rows, chunk=1, resume=False)
        other = lambda items: [{"other": i} for i in items]
        made = resumable_rows(path, 2, other, chunk=1, resume=False)
        assert made == [{"other": 0}, {"other": 1}]
