"""Suites of measurements: which programs run on which models, and their numbers."""

import dataclasses
import math
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from jaxalign import messages
from jaxalign.evaluation import diversity, page
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Section
from jaxalign.pipeline.evaluation import answer_rows
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.prompt_ids import prompt_id
from jaxalign.runtime import config_values, run_settings

DIVERSITY = (
    "Over the samples of each prompt: different n-grams over all, BLEU of each with "
    "the others (1 where all are the same), entropy of whole answers in nats, and the "
    "share of different ones."
)


class Program(NamedTuple):
    """A program that measures models.

    Attributes:
      module: has `main` and `Config`.
      field: of its Config, which names the model or the models; "" for none.
      joined: whether one run takes all models, rather than a run for each of them.
      reads_answers: the field that names a file of answers; where a suite leaves out
        `data` it is that of the `generate` before.
    """

    module: ModuleType
    field: str = ""
    joined: bool = False
    reads_answers: str = ""


class Measurement(NamedTuple):
    """One run of a program.

    Attributes:
      title: the suite's name of it, such as "red_team advbench".
      program: that makes it.
      model: that it is of; "" where it is of all models.
      config: of the program.
    """

    title: str
    program: Program
    model: str
    config: Any

    def __str__(self) -> str:
        """The title, and the model.

        >>> print(Measurement("perplexity", Program(messages), "runs/sft", None))
        perplexity of runs/sft
        """
        return " of ".join(filter(None, (self.title, self.model)))


def read_suite(
    suite: Path,
    programs: Mapping[str, Program],
    models: Sequence[str],
    out: Path,
    **shared: Any,
) -> list[Measurement]:
    """The runs that a suite names, in its order, with their flags checked.

    Args:
      suite: a YAML file: the measurements by program, each with the program's flags; a
        name may be followed by a label.
      programs: by name.
      models: as FOLDER or NAME=FOLDER.
      out: has a folder for each measurement.
      **shared: flags of every program.

    Raises:
      ValueError: names the file, and the program or the flag at fault.
    """
    measurements: list[Measurement] = []
    answers: Path | None = None
    for title, values in config_values.read_yaml(suite, "--suite").items():
        where = f"{suite}: {title}"
        name = str(title).partition(" ")[0].replace("-", "_")
        if name not in programs:
            unknown = messages.unknown_name("measurement", name, programs)
            raise ValueError(f"{where}: {unknown}")
        values = {} if values is None else values
        if not isinstance(values, Mapping):
            raise ValueError(f"{where} is {values!r}; expected flags, {{name: value}}")
        folder = out / re.sub(r"[^\w.-]+", "_", str(title))
        if programs[name].field in values:
            field = programs[name].field
            raise ValueError(f"{where}.{field}: --models sets it; leave it out")
        given: dict[str, Any] = {}
        if (reads := programs[name].reads_answers) and "data" not in values:
            if answers is None:
                raise ValueError(f"{where}: data is missing, and no generate before it")
            given = {reads: as_field(programs[name], reads, [str(answers)])}
        measurements += [
            Measurement(
                str(title),
                programs[name],
                model,
                config_values.from_values(
                    programs[name].module.Config,
                    values,
                    where,
                    **(own | given | shared),
                ),
            )
            for model, own in model_settings(programs[name], models, folder)
        ]
        if name == "generate":
            answers = folder / "answers.jsonl"
    return measurements


def model_settings(
    program: Program, models: Sequence[str], folder: Path
) -> list[tuple[str, dict[str, Any]]]:
    """The model of each run of a program, and the flags by which runs differ.

    Returns:
      A run of all models, whose name is "", or one for each model.
    """
    if program.field and not program.joined:
        runs = []
        for i, model in enumerate(models, 1):
            name, path = evaluation_models.split_name(model)
            own = {"out": folder / f"{i}_{Path(name).name}", program.field: path}
            runs.append((name, own))
        return runs
    settings: dict[str, Any] = {"out": folder}
    if program.joined:
        settings[program.field] = as_field(program, program.field, models)
    return [("", settings)]


def as_field(program: Program, field: str, texts: Sequence[str]) -> Any:
    """Texts as a field of a program has them: a tuple, or one text with commas."""
    hint = typing.get_type_hints(program.module.Config)[field]
    return ",".join(texts) if hint is str else tuple(texts)


def is_complete(measurement: Measurement) -> bool:
    """Whether an earlier run has made a measurement, and --resume lets it count."""
    config = measurement.config
    return bool(config.resume and (config.out / "numbers.json").exists())


def measure(measurement: Measurement) -> dict[str, Any]:
    """The numbers of a measurement; of one that is complete, those in its folder."""
    config, folder = measurement.config, measurement.config.out
    if not is_complete(measurement):
        if not (folder / "config.json").exists():  # not yet begun
            config = dataclasses.replace(config, resume=False)
        measurement.program.module.main(config)
    return run_settings.read_object(folder / "numbers.json", "what was measured")


def summary_rows(
    models: Sequence[str],
    measurements: Sequence[Measurement],
    results: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A row for each model: the main numbers of each measurement that is of it.

    A measurement of all models has the numbers of each under `by_model`.

    Args:
      models: their names.
      results: the numbers of each measurement.
    """
    rows = []
    for model in models:
        row: dict[str, Any] = {"model": model}
        for one, numbers in zip(measurements, results, strict=True):
            own = numbers if one.model == model else {}
            if not one.model:
                own = numbers.get("by_model", {}).get(model, {})
            cells = {k: as_cell(x) for k, x in own.items()}
            row |= {f"{one.title}: {k}": x for k, x in cells.items() if x != ""}
        rows.append(row)
    return rows


def transpose(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each number, with a column for each model.

    >>> transpose([{"model": "sft", "nll": 2.0}, {"model": "dpo"}])
    [{'number': 'nll', 'sft': 2.0, 'dpo': None}]
    """
    names = dict.fromkeys(name for row in rows for name in row if name != "model")
    return [
        {"number": name.replace("_", " ")}
        | {row["model"]: row.get(name) for row in rows}
        for name in names
    ]


def as_cell(value: Any) -> Any:
    """A value of numbers.json as a table's cell, an interval where it has bounds.

    >>> print(as_cell({"mean": 0.5, "low": 0.4, "high": 0.6}))
    0.500 ± 0.100
    """
    if isinstance(value, Mapping) and set(value) == {"mean", "low", "high"}:
        return Interval(*(math.nan if x is None else x for x in value.values()))
    return value if isinstance(value, int | float | None) else ""


def diversity_sections(measurements: Sequence[Measurement]) -> list[Section]:
    """The diversity of the answers of each `generate`, where prompts have several."""
    sections = []
    for one in measurements:
        file = one.config.out / "answers.jsonl"
        if not one.title.startswith("generate") or not file.exists():
            continue
        groups: dict[str, dict[str, list[str]]] = {}
        for row in answer_rows.read_answers(file):
            by_prompt = groups.setdefault(row.model, {})
            by_prompt.setdefault(prompt_id(row.prompt), []).append(row.answer)
        rows = [
            {"model": model, **within}
            for model, by_prompt in groups.items()
            if (within := diversity.diversity_within_prompts(list(by_prompt.values())))
        ]
        if rows:
            title = f"Diversity of the answers to one prompt ({one.title})"
            sections.append(Section(title, DIVERSITY, rows))
    return sections


def own_sections(measurement: Measurement) -> list[Section]:
    """The sections of a measurement's own report, under its title."""
    return [
        dataclasses.replace(section, title=f"{measurement}: {section.title}")
        for section in page.read(measurement.config.out).sections
    ]
