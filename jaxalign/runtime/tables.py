"""Result tables and sample answers of pipelines, printed and written to files."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign.evaluation import report
from jaxalign.evaluation.intervals import Interval
from jaxalign.runtime import distributed

Row = dict[str, Any]
LEGEND = (
    "▲ the whole 95 % interval of a gain is above 0; ▼ it is below; "
    "± ? no interval, of a single unit\n"
    "KL is from the common initial model, at the policy's temperature; without ± it is "
    "not measured: 0 for that model itself, and for best-of-n the upper bound "
    "log n - (n - 1) / n\n"
)


def publish(out: Path, tables: Mapping[str, Sequence[Row]]) -> None:
    """Prints tables and writes table.md; table.json and table.csv have the first table.

    Of many processes the first prints and writes.

    Args:
      tables: rows by title.
    """
    if not distributed.is_first():
        return
    out.mkdir(parents=True, exist_ok=True)
    for title, rows in tables.items():
        report.print_table(rows, title)
    distributed.print_line(LEGEND)
    texts = [
        f"{title}\n\n{report.markdown_table(rows)}" for title, rows in tables.items()
    ]
    (out / "table.md").write_text("\n".join([*texts, LEGEND]))
    first = next(iter(tables.values()))
    rows = [{name: json_cell(value) for name, value in row.items()} for row in first]
    (out / "table.json").write_text(json.dumps(rows, indent=2))
    (out / "table.csv").write_text(report.csv_table(first))


def json_cell(value: Any) -> Any:
    """A cell as a JSON value: an interval as its mean and bounds, NaN as null."""
    if isinstance(value, Interval):
        return [json_cell(bound) for bound in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def write_answers(
    out: Path,
    conversations: Sequence[Sequence[Mapping[str, Any]]],
    texts: Mapping[str, Sequence[str]],
) -> None:
    """Writes the answers to a few prompts, of each method, to samples.md.

    Of many processes the first writes.
    """
    if not distributed.is_first():
        return
    few = conversations[:12]
    prompts = [
        "\n".join(f"{m['role']}: {m['content']}" for m in messages) for messages in few
    ]
    answers_of = {name: answers[: len(few)] for name, answers in texts.items()}
    report.write_samples(out / "samples.md", prompts, answers_of)
