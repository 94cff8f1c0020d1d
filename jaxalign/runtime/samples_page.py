"""samples.md: the answers of a run's first and last iterations, as a page to read."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign.atomic_files import atomic_path
from jaxalign.evaluation import report
from jaxalign.runtime import sample_texts

NAME = "samples.md"
LAST = 4  # iterations on the page, beside the first
HEAD = (
    "The answers of the first and the last iterations, the newest at the top; "
    "samples.jsonl has those of all. The numbers are explained in docs/metrics.md; "
    "kl is in nats."
)

Row = Mapping[str, Any]


class SamplesPage:
    """Keeps the samples of the first and the last iterations, and writes their page.

    Attributes:
      steps: samples by the number of their iteration, in order.
    """

    def __init__(self, folder: Path, lines: Iterable[str] = ()) -> None:
        """Args:

        folder: of the run.
        lines: of samples.jsonl so far, of a run that is resumed.
        """
        self.folder = folder
        self.steps: dict[int, list[Row]] = {}
        for line in lines:
            row = json.loads(line)
            self.add(row.pop("step"), [row])

    def add(self, step: int, rows: Sequence[Row]) -> None:
        """Keeps samples of an iteration; it may have some already."""
        self.steps[step] = [*self.steps.get(step, []), *rows]
        first, *others = self.steps
        for old in others[:-LAST]:
            del self.steps[old]

    def write(self) -> None:
        """Writes FOLDER/samples.md.

        Raises:
          OSError: the folder cannot be written.
        """
        if not self.steps:
            return
        parts = ["# Samples", HEAD]
        for step in reversed(self.steps):
            parts += [f"## Step {step}", *page_parts(self.steps[step])]
        with atomic_path(self.folder / NAME) as part:
            part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def page_parts(rows: Sequence[Row]) -> list[str]:
    """The parts of the page on one iteration: each prompt once, then its answers."""
    parts, last, prompts = [], None, 0
    for row in rows:
        prompt = sample_texts.prompt_text(row["prompt"])
        if prompt != last:
            prompts += 1
            text = sample_texts.without_controls(prompt)
            parts += [f"### Prompt {prompts}", report.fence(text)]
        last = prompt
        answer = sample_texts.without_controls(row["answer"])
        parts += [describe_numbers(row), report.fence(answer)]
    return parts


def describe_numbers(row: Row) -> str:
    """The numbers of an answer as a line of Markdown, its rewards first.

    >>> describe_numbers(
    ...     {"prompt": [], "answer": "4", "rewards": {"exact": 1.0}, "ended": True}
    ... )
    '**exact 1**, ended yes'
    """
    rewards = [f"**{k} {sample_texts.cell(x)}**" for k, x in row["rewards"].items()]
    others = [
        f"{name.replace('_', ' ')} {sample_texts.cell(x)}"
        for name, x in row.items()
        if name not in ("prompt", "answer", "rewards")
    ]
    return ", ".join([*rewards, *others])
