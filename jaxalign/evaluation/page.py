"""Reports of evaluations: a page as Markdown, and as HTML that needs no other file.

A page is kept as JSON beside these, so that several can be joined to one.
"""

import base64
import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxalign import lazy
from jaxalign.atomic_files import atomic_path
from jaxalign.evaluation import report
from jaxalign.evaluation.intervals import Gain, Interval
from jaxalign.evaluation.report import Row

if TYPE_CHECKING:
    import jinja2
else:
    jinja2 = lazy.module("jinja2")

TEMPLATE = Path(__file__).with_name("page.html.jinja")
LEGEND = (
    "Numbers with ± or bounds have 95 % intervals; ± ? has none, of a single unit; "
    "▲ and ▼ mark differences whose whole interval is above or below 0."
)


@dataclasses.dataclass(frozen=True)
class SideBySide:
    """The answers of several models to the same prompts.

    Attributes:
      prompts: as text [P].
      answers: by model, as text [P].
      notes: a line under each prompt, such as a verdict [P]; empty for none.
    """

    prompts: Sequence[str]
    answers: Mapping[str, Sequence[str]]
    notes: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page: a heading, and what stands under it.

    Attributes:
      title: the heading.
      text: paragraphs, with blank lines between them.
      rows: of a table, {column: value}.
      image: a plot, a PNG file.
      answers: answers side by side.
    """

    title: str
    text: str = ""
    rows: Sequence[Row] = ()
    image: Path | None = None
    answers: SideBySide | None = None


@dataclasses.dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
      title: its heading.
      sections: its parts, in order.
      command: what makes it again.
    """

    title: str
    sections: Sequence[Section]
    command: str = ""


def write(page: Page, folder: Path, name: str = "report") -> Path:
    """Writes NAME.md, NAME.html and NAME.json into a folder.

    Returns:
      The path of the HTML.
    """
    texts = {
        folder / f"{name}.json": json.dumps(to_json(page, folder), indent=1),
        folder / f"{name}.md": markdown_page(page, folder),
        folder / f"{name}.html": html_page(page),
    }
    for path, text in texts.items():
        with atomic_path(path) as part:
            part.write_text(text, encoding="utf-8")
    return folder / f"{name}.html"


def markdown_page(page: Page, folder: Path) -> str:
    """A page as Markdown; images are linked, relative to a folder.

    >>> page = Page("Judge", [Section("Win rates", rows=[{"model": "a", "n": 2}])])
    >>> print(markdown_page(page, Path(".")).split(LEGEND)[0])
    # Judge
    <BLANKLINE>
    ## Win rates
    <BLANKLINE>
    | model | n |
    | --- | --- |
    | a | 2 |
    <BLANKLINE>
    <BLANKLINE>
    <BLANKLINE>
    """
    parts = [f"# {page.title}"]
    if page.command:
        parts.append(report.fence(page.command).replace("text", "sh", 1))
    for section in page.sections:
        parts.append(f"## {section.title}")
        if section.text:
            parts.append(section.text)
        if section.image is not None:
            path = os.path.relpath(section.image, folder)
            parts.append(f"![{section.title}]({path})")
        if section.rows:
            parts.append(report.markdown_table(section.rows))
        if section.answers is not None:
            parts += markdown_answers(section.answers)
    return "\n\n".join([*parts, LEGEND]) + "\n"


def markdown_answers(answers: SideBySide) -> list[str]:
    """The parts of a page that show answers, one prompt after the other."""
    parts = []
    for i, prompt in enumerate(answers.prompts):
        parts += [f"### {i + 1}", report.fence(prompt)]
        if answers.notes:
            parts.append(answers.notes[i])
        for name, texts in answers.answers.items():
            parts += [f"**{name}**", report.fence(texts[i])]
    return parts


def html_page(page: Page) -> str:
    """A page as HTML, with its images and style in it; all texts are escaped."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        page=page,
        legend=LEGEND,
        columns=report.column_names,
        cell=report.format_cell,
        is_number=is_number,
        image=image_data,
    )


def is_number(value: object) -> bool:
    """Whether a cell is set flush right: a number or an interval."""
    return isinstance(value, int | float | report.Interval)


def image_data(path: Path) -> str:
    """An image as the text of a data URL."""
    encoded = base64.b64encode(path.read_bytes()).decode()
    return f"data:image/png;base64,{encoded}"


def read(folder: Path, name: str = "report") -> Page:
    """The page that `write` wrote into a folder.

    Raises:
      OSError, ValueError: it is not there, or damaged.
    """
    values = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    sections = [section_from_json(section, folder) for section in values["sections"]]
    return Page(values["title"], sections, values["command"])


def to_json(page: Page, folder: Path) -> dict[str, Any]:
    """A page as JSON values; images by their paths relative to a folder."""
    values = dataclasses.asdict(page)
    for section, original in zip(values["sections"], page.sections, strict=True):
        section["rows"] = [
            {name: cell_to_json(value) for name, value in row.items()}
            for row in original.rows
        ]
        if original.image is not None:
            section["image"] = os.path.relpath(original.image, folder)
    return values


def section_from_json(values: dict[str, Any], folder: Path) -> Section:
    """A section from its JSON values."""
    rows = [
        {name: cell_from_json(value) for name, value in row.items()}
        for row in values["rows"]
    ]
    image, answers = values["image"], values["answers"]
    return Section(
        values["title"],
        values["text"],
        rows,
        None if image is None else folder / image,
        None if answers is None else SideBySide(**answers),
    )


def cell_to_json(value: Any) -> Any:
    """A table's cell as a JSON value; intervals are marked by their kind."""
    if isinstance(value, Interval):
        return {"kind": type(value).__name__, "values": list(value)}
    return value.item() if hasattr(value, "item") else value


def cell_from_json(value: Any) -> Any:
    """A table's cell from its JSON value."""
    if isinstance(value, dict) and value.get("kind") in ("Interval", "Gain"):
        kind = Gain if value["kind"] == "Gain" else Interval
        return kind(*value["values"])
    return value
