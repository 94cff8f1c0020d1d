"""Suites of red-team prompts: files of requests with their categories.

    AdvBench            CSV: goal, categories (with ; between them) or target
    SimpleSafetyTests   CSV: prompts_final, harm_area
    StrongREJECT        CSV: category, source, forbidden_prompt
    XSTest              CSV: prompt, type, label (safe or unsafe)
    HarmBench, JailbreakBench   CSV: Behavior, SemanticCategory; Goal, Category
    others              any file of prompts, with `category`, and `label` where some
                        are safe; a .txt file has one prompt a line

A prompt is unsafe unless its label, or its type in XSTest, says that it is safe.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.data.formats import files
from jaxalign.data.records import Prompt
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.messages import one_line, shorten
from jaxalign.pipeline.evaluation import answer_rows

PROMPT_COLUMNS = ("forbidden_prompt", "goal", "prompts_final", "behavior")
CATEGORY_FIELDS = ("categories", "harm_area", "category", "semanticcategory", "type")
NO_CATEGORY = "(none)"
CONTRAST = "contrast_"
XSTEST_SAFE_TYPES = frozenset(
    "homonyms figurative_language safe_targets safe_contexts definitions "
    "nons_group_real_discr real_group_nons_discr historical_events privacy_public "
    "privacy_fictional".split()
)


class SuitePrompt(NamedTuple):
    """A prompt of a suite.

    Attributes:
      prompt: the request.
      suite: the name of the file, without its ending.
      categories: of the request; one at least.
      safe: whether it should be answered, as XSTest's safe prompts.
    """

    prompt: Prompt
    suite: str
    categories: tuple[str, ...]
    safe: bool


def read_suites(paths: str) -> list[SuitePrompt]:
    """The prompts of suites, in the order of the files.

    Args:
      paths: files, with commas between them.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a file without prompts, a malformed row (FILE:LINE and field), or two
        files of one name.
    """
    names = [Path(path).stem for path in paths.split(",")]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"--suite {paths}: two files are named {twice}; rename one")
    return [prompt for path in paths.split(",") for prompt in read_suite(path.strip())]


def read_suite(path: str) -> list[SuitePrompt]:
    """The prompts of one file; see the module for the layouts.

    Raises:
      FileNotFoundError, ValueError: as `read_suites`.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"--suite {path}: no such file")
    rows = text_rows(path) if path.endswith(".txt") else prompt_rows(path)
    prompts = [parse_prompt(row, location) for location, row in rows]
    if not prompts:
        raise ValueError(f"--suite {path} holds no prompts")
    return [suite_prompt(prompt, Path(path).stem) for prompt in prompts]


def parse_prompt(row: Any, location: str) -> Prompt:
    """The prompt of a row.

    Raises:
      ValueError: it has none, or a field that cannot be honored.
    """
    try:
        if isinstance(row, MalformedRow | UnusableRow):
            raise row
        return answer_rows.parse_one(row, Prompt, location)
    except (MalformedRow, UnusableRow, RecursionError) as error:
        raise ValueError(f"{location}: {one_line(error)}") from error


def text_rows(path: str) -> Iterator[tuple[str, Any]]:
    """The lines of a text file that are not empty, as rows with their location."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield f"{path}:{number}", {"prompt": line.strip()}


def prompt_rows(path: str) -> Iterator[tuple[str, Any]]:
    """The rows of a file, the prompt's column of a known suite renamed to `prompt`."""
    for location, row in files.read_rows(path):
        yield location, rename_prompt(row) if isinstance(row, Mapping) else row


def rename_prompt(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose prompt is in the field `prompt`.

    >>> rename_prompt({"Goal": "Do it", "Category": "x"})
    {'prompt': 'Do it', 'Category': 'x'}
    """
    by_lower = {name.lower(): name for name in row}
    column = next((by_lower[name] for name in PROMPT_COLUMNS if name in by_lower), None)
    if column is None or "prompt" in row or "messages" in row:
        return dict(row)
    return {"prompt" if name == column else name: x for name, x in row.items()}


def suite_prompt(prompt: Prompt, suite: str) -> SuitePrompt:
    """A prompt with its categories, and whether it is safe.

    Raises:
      ValueError: a label that is neither safe nor unsafe, or a category that is not
        text; names the row.
    """
    fields = {name.lower(): value for name, value in prompt.fields.items()}
    label, kind = fields.get("label"), str(fields.get("type", ""))
    if label is not None and label not in ("safe", "unsafe"):
        raise ValueError(
            f"{prompt.location}: field 'label' is {shorten(repr(label))}; expected "
            "safe or unsafe: rename the field if it says something else"
        )
    safe = label == "safe" if label is not None else kind in XSTEST_SAFE_TYPES
    return SuitePrompt(prompt, suite, prompt_categories(fields, prompt.location), safe)


def describe_unlabeled(prompts: Sequence[SuitePrompt]) -> str:
    """A sentence where no prompt has a category, nor is safe; else ""."""
    if any(one.safe or one.categories != (NO_CATEGORY,) for one in prompts):
        return ""
    return (
        f"no row has a category or a label: all {len(prompts)} prompts are taken as "
        "unsafe, which no model should answer"
    )


def prompt_categories(fields: Mapping[str, Any], location: str) -> tuple[str, ...]:
    """The categories of a row: a list, or text with semicolons; `(none)` without any.

    Raises:
      ValueError: they are not text.
    """
    name = next((name for name in CATEGORY_FIELDS if fields.get(name)), None)
    if name is None:
        return (NO_CATEGORY,)
    value: Any = fields[name]
    parts: Sequence[Any] = value
    if isinstance(value, str):
        parts = value.split(";") if name == "categories" else [value]
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        raise ValueError(
            f"{location}: field {name!r} is {shorten(repr(value))}; expected a text or "
            "a list of texts"
        )
    found = [part.strip() for part in parts if part.strip()]
    return tuple(dict.fromkeys(found)) or (NO_CATEGORY,)
