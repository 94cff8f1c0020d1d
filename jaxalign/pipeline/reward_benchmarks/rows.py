"""Rows of reward-model benchmarks, and of any preference file, in one form.

A layout is recognized by the fields of a row:

LLMBar          {"input", "output_1", "output_2", "label": 1 or 2}; the subset is that
                of RewardBench which the file's name tells
RewardBench     {"prompt", "chosen", "rejected", "subset", "id"}, and all other
                preference pairs and rankings that `--data` of a reward model reads
RewardBench 2   {"prompt", "chosen": [text], "rejected": [three texts], "subset"}; of
                the subset Ties several chosen texts, with "id": "ref:7" or "tied:7"
RM-Bench        {"prompt", "chosen": [three styles], "rejected": [three], "domain"}
"""

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxalign import messages, streams
from jaxalign.data import splits
from jaxalign.data.formats import files
from jaxalign.data.records import Answer, Preference, Prompt
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas import parser
from jaxalign.data.schemas.checks import first_field, json_type, preview, require_text
from jaxalign.evaluation.reward_benchmarks import reward_bench2, rm_bench

Layout = Literal["pair", "best_of", "ties", "styles"]
# what the path of an LLMBar file holds -> the subset of RewardBench
LLMBAR = {
    "neighbor": "llmbar-adver-neighbor",
    "gptinst": "llmbar-adver-GPTInst",
    "gptout": "llmbar-adver-GPTOut",
    "manual": "llmbar-adver-manual",
    "natural": "llmbar-natural",
}
SPLIT_NAMES = {"train", "test", "validation", "valid", "dev", "dataset", "data"}
TIES_ID = re.compile(r"(ref|tied):(\d+)")


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """A prompt with right and wrong answers.

    Attributes:
      prompt: with the location of the row, and its other fields.
      answers: the right ones first; of "styles" from plain to rich in each half.
      right: number of right answers.
      layout: how scores are judged: a pair, the best of K, ties, or styles.
      subset: the group of the row.
      row_id: of the benchmark; of Ties "ref:7" or "tied:7".
      margin: rating margin of a pair; 0 where the data have none.
      label_prob: probability in [0, 1] that the chosen answer of a pair is better.
    """

    prompt: Prompt
    answers: tuple[str, ...]
    right: int
    layout: Layout
    subset: str
    row_id: str = ""
    margin: float = 0.0
    label_prob: float = 1.0


def read_benchmarks(
    paths: Sequence[str], *, skip_bad_rows: bool = False
) -> tuple[list[BenchmarkRow], collections.Counter[str]]:
    """The rows of files or folders, and the reasons of those that are left out.

    Args:
      paths: files, or folders of files.
      skip_bad_rows: count malformed rows instead of raising at the first one.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row (FILE:LINE and the field), or a file without rows.
    """
    rows: list[BenchmarkRow] = []
    reasons = collections.Counter[str]()
    for file in files.list_all_files(list(paths)):
        before = len(rows)
        for location, row in files.read_rows(file):
            try:
                if isinstance(row, MalformedRow | UnusableRow):
                    raise row
                rows += parse_benchmark_row(row, location, default_subset(file))
            except UnusableRow as unusable:
                reasons[str(unusable)] += 1
            except (MalformedRow, RecursionError) as error:
                if not skip_bad_rows:
                    reason = messages.one_line(error)
                    raise ValueError(
                        f"{location}: {reason}; correct the row, or pass "
                        "--skip-bad-rows to leave such rows out"
                    ) from error
                reasons["malformed"] += 1
        if len(rows) == before:
            raise ValueError(
                f"{file} holds no rows with a chosen and a rejected answer"
            )
    return rows, reasons


def parse_benchmark_row(
    row: Any, location: str, subset: str = ""
) -> Iterator[BenchmarkRow]:
    """The pairs or the sets of answers of a row, in any layout of the module's table.

    Args:
      subset: of a row that states none.

    Raises:
      MalformedRow, UnusableRow: names the field at fault.
    """
    if not isinstance(row, Mapping):
        raise MalformedRow("is not a JSON object")
    if {"output_1", "output_2"} <= row.keys():
        yield parse_llmbar(row, location, subset)
    elif is_text_list(row.get("chosen")) or is_text_list(row.get("rejected")):
        yield parse_answer_lists(row, location, subset)
    else:
        for pair in parser.parse_row(row, Preference, location):
            assert isinstance(pair, Preference)  # the kind that was asked for
            yield pair_row(pair, subset)


def is_text_list(value: Any) -> bool:
    """Whether a value is a list of texts (and not of messages)."""
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def pair_row(pair: Preference, subset: str) -> BenchmarkRow:
    """A preference pair as a row of a benchmark.

    Raises:
      MalformedRow: an answer that is more than a text.
    """
    prompt = Prompt(pair.prompt, pair.location, tools=pair.tools, fields=pair.fields)
    return BenchmarkRow(
        prompt,
        (answer_text(pair.chosen, "chosen"), answer_text(pair.rejected, "rejected")),
        1,
        "pair",
        str(pair.fields.get("subset") or subset),
        str(pair.fields.get("id", "")),
        pair.margin,
        pair.label_prob,
    )


def answer_text(answer: Answer, field: str) -> str:
    """The text of an answer.

    Raises:
      MalformedRow: it has reasoning or tool calls, which rewards of texts do not read.
    """
    if isinstance(answer, str):
        return answer
    extra = [name for name in answer if name not in ("role", "content", "train")]
    if extra:
        raise MalformedRow(
            f"field {field!r} has {extra[0]!r}; expected an answer that is text alone"
        )
    return str(answer["content"])


def parse_llmbar(row: Mapping[str, Any], location: str, subset: str) -> BenchmarkRow:
    """A row of LLMBar; the label is the number of the better output.

    Raises:
      MalformedRow: no such label, or a field that is not text.
    """
    label = row[first_field(row, "label")]
    if isinstance(label, bool) or label not in (1, 2):
        raise MalformedRow(f"field 'label' is {preview(label)}; expected 1 or 2")
    texts = [
        require_text(row[f"output_{k}"], f"output_{k}") for k in (label, 3 - label)
    ]
    prompt = require_text(row[first_field(row, "input", "instruction")], "input")
    return BenchmarkRow(
        user_prompt(prompt, location, row), (*texts,), 1, "pair", subset
    )


def parse_answer_lists(
    row: Mapping[str, Any], location: str, subset: str
) -> BenchmarkRow:
    """A row of RewardBench 2 or of RM-Bench, whose answers are lists of texts.

    Raises:
      MalformedRow: a missing or empty list, or numbers of answers that are neither's.
    """
    chosen, rejected = (text_list(row, name) for name in ("chosen", "rejected"))
    prompt = require_text(row[first_field(row, "prompt")], "prompt")
    group = row.get("subset") or row.get("domain") or subset
    layout: Layout = "best_of"
    if group == reward_bench2.TIES:
        layout = "ties"
    elif len(chosen) == len(rejected) == len(rm_bench.STYLES) and "domain" in row:
        layout = "styles"
    elif len(chosen) > 1:
        raise MalformedRow(
            f"field 'chosen' has {len(chosen)} answers and 'rejected' {len(rejected)}; "
            "expected one chosen (RewardBench 2), the subset Ties, or three of each "
            "with a 'domain' (RM-Bench)"
        )
    stated = row.get("num_correct")
    if stated is not None and stated != len(chosen):
        raise MalformedRow(
            f"field 'num_correct' is {preview(stated)}, but 'chosen' has {len(chosen)} "
            "answers"
        )
    row_id = str(row.get("id", ""))
    if layout == "ties" and not TIES_ID.fullmatch(row_id):
        raise MalformedRow(
            f"field 'id' is {preview(row_id)}; expected ref:NUMBER or tied:NUMBER"
        )
    return BenchmarkRow(
        user_prompt(prompt, location, row),
        (*chosen, *rejected),
        len(chosen),
        layout,
        str(group),
        row_id,
    )


def text_list(row: Mapping[str, Any], name: str) -> list[str]:
    """A field that is a list of texts, one at least.

    Raises:
      MalformedRow: it is something else.
    """
    value = row[first_field(row, name)]
    if not is_text_list(value) or not value:
        what = "an empty list" if value == [] else json_type(value)
        raise MalformedRow(f"field {name!r} is {what}; expected a list of texts")
    return list(value)


def user_prompt(text: str, location: str, row: Mapping[str, Any]) -> Prompt:
    """A prompt of one user message, with the other fields of its row."""
    used = {"prompt", "input", "chosen", "rejected", "output_1", "output_2"}
    fields = {name: value for name, value in row.items() if name not in used}
    return Prompt([{"role": "user", "content": text}], location, fields=fields)


def default_subset(file: str) -> str:
    """The subset of rows that state none, from the path of their file.

    >>> default_subset("LLMBar/Adversarial/GPTInst/dataset.json")
    'llmbar-adver-GPTInst'
    >>> default_subset("hh/harmless-base/test.jsonl.gz"), default_subset("my.jsonl")
    ('harmless-base/test', 'my')
    """
    path = Path(file)
    parts = " ".join(path.parts[-4:]).casefold()
    if "llmbar" in parts or path.name.endswith("_dataset.json"):
        for word, subset in LLMBAR.items():
            if word in parts:
                return subset
    stem = path.name.partition(".")[0]
    return f"{path.parent.name}/{stem}" if stem.lower() in SPLIT_NAMES else stem


def prompt_key(row: BenchmarkRow) -> str:
    """What rows of one prompt share: of Ties the number in the id, else the prompt."""
    if row.layout == "ties":
        return row.row_id.partition(":")[2]
    return str(splits.prompt_hash(row.prompt))


def sample_rows(
    rows: Sequence[BenchmarkRow], count: int | None, *, seed: int
) -> list[BenchmarkRow]:
    """At most `count` random prompts of each subset, in the order of the rows.

    Both rows of a prompt of Ties stay together.

    Args:
      count: None keeps all.
      seed: of the selection.
    """
    if count is None:
        return list(rows)
    groups: dict[str, dict[str, list[int]]] = collections.defaultdict(dict)
    for i, row in enumerate(rows):
        groups[row.subset].setdefault(prompt_key(row), []).append(i)
    kept: list[int] = []
    for subset, prompts in groups.items():
        order = streams.generator(seed, f"rows of {subset}").permutation(len(prompts))
        lists = list(prompts.values())
        kept += [i for k in order[:count] for i in lists[k]]
    return [rows[i] for i in np.sort(kept)]
