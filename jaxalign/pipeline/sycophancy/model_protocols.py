"""The protocols on a model's folder: items from files, answers, a report."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Page, Section, SideBySide
from jaxalign.evaluation.sycophancy import protocol_metrics
from jaxalign.pipeline.evaluation import conversation_answers
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    load_policy,
)
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.sycophancy import items, poems, policy_answers, protocols
from jaxalign.pipeline.sycophancy.policy_answers import Note
from jaxalign.pipeline.sycophancy.protocols import ProtocolResult, Speaker
from jaxalign.pipeline.sycophancy.pushback import (
    agreement_judge,
    parse_pushback,
    pushback,
)
from jaxalign.runtime import flags, jsonl
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun

PROTOCOLS = ("are_you_sure", "answer", "feedback", "mimicry", "opinions", "pushback")
SHOWN = 5  # conversations of the report
MAIN = (
    *("flip", "repair", "liking", "mimics", "agreement change", "unreadable"),
    "pushback change",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProtocolConfig(EvaluationConfig):
    """Flags of the protocols on a model."""

    RANGES: ClassVar = {"examples": flags.COUNT}
    model: str | None = None
    """The folder of a model; without it, the study in the toy world."""
    data: str | None = None
    """Questions of answer and are_you_sure, a file or folder: TruthfulQA's CSV, the
    published rows of Sharma et al., or {"question", "options", "answer"}."""
    opinions: str | None = None
    """Questions of opinion, without and with the user's views."""
    claims: str | None = None
    """False claims with the user's pushbacks and an expert's assessment."""
    texts: str | None = None
    """Texts to comment on: {"text", "kind"}; by default poems."""
    protocols: tuple[str, ...] = ("are_you_sure", "answer")
    """With --model, of are_you_sure, answer, feedback, mimicry, opinions, pushback."""
    letters: Literal["sampled", "likelihood"] = "sampled"
    """Options are chosen by the sampled answer, or by the likelihood of their letters,
    for models that do not keep to the form of an answer."""
    judge: str | None = None
    """The folder of a language model that compares comments, and judges replies to
    pushback; by default --model."""
    examples: int | None = None
    """At most so many items of each protocol."""
    max_new_tokens: int = 128
    """Tokens of a model's longest answer."""
    temperature: float = 0.0
    """Sampling temperature with --model; 0 is greedy."""


class ProtocolInputs(NamedTuple):
    """Files of the protocols; None where a protocol has its own items, or none.

    Attributes:
      questions: of are_you_sure and answer.
      opinions: of opinions.
      claims: of pushback.
      texts: of feedback; by default poems.
    """

    questions: str | None
    opinions: str | None
    claims: str | None
    texts: str | None


def check_inputs(names: Sequence[str], inputs: ProtocolInputs) -> None:
    """Refuses protocols without their items, before a model is read.

    Raises:
      ValueError: an unknown protocol, or a flag that is missing; names it.
    """
    needs = {
        "are_you_sure": ("--data", inputs.questions),
        "answer": ("--data", inputs.questions),
        "opinions": ("--opinions", inputs.opinions),
        "pushback": ("--claims", inputs.claims),
    }
    for name in names:
        if name not in PROTOCOLS:
            raise ValueError(f"--protocols is of {', '.join(PROTOCOLS)}, not {name!r}")
        flag, path = needs.get(name, ("", "none"))
        if path is None:
            raise ValueError(f"the protocol {name} needs {flag} FILE, its questions")


def make_protocols(
    config: ProtocolConfig,
    inputs: ProtocolInputs,
    policy: Policy,
    mesh: Mesh,
    note: Note,
) -> dict[str, Callable[[], ProtocolResult]]:
    """Each protocol as a function without arguments; reads all files first.

    Raises:
      ValueError, FileNotFoundError: a file that is malformed, or not there.
    """
    speak = make_speaker(config, policy, note)
    some = partial(items.sample_items, count=config.examples, seed=config.seed)
    read = lambda path, parse: some(items.read_items(str(path), parse))
    made: dict[str, Callable[[], ProtocolResult]] = {}
    for name in config.protocols:
        if name == "are_you_sure":
            doubts = map(items.doubt_item, read(inputs.questions, items.parse_question))
            sure = policy_answers.letter_confidence(policy, rows=config.rows)
            made[name] = partial(protocols.are_you_sure, list(doubts), speak, sure)
        elif name == "answer":
            asked = read(inputs.questions, items.parse_question)
            beliefs = list(map(items.belief_item, asked))
            made[name] = partial(protocols.answer_with_beliefs, beliefs, speak)
        elif name == "mimicry":
            made[name] = partial(protocols.mimicry, some(poems.mimicry_items()), speak)
        elif name == "opinions":
            views = read(inputs.opinions, items.parse_opinion)
            made[name] = partial(
                policy_answers.opinions, policy, views, rows=config.rows, note=note
            )
        elif name == "pushback":
            claims = read(inputs.claims, parse_pushback)
            judge = load_judge(config, policy, mesh)
            agreement = agreement_judge(judge, rows=config.rows, note=note)
            made[name] = partial(pushback, claims, speak, agreement)
        else:
            texts = poems.feedback_items()
            if inputs.texts is not None:
                texts = items.read_items(inputs.texts, items.parse_text)
            judge = load_judge(config, policy, mesh)
            positivity = policy_answers.policy_judge(judge, rows=config.rows, note=note)
            made[name] = partial(protocols.feedback, some(texts), speak, positivity)
    return made


def load_judge(config: ProtocolConfig, policy: Policy, mesh: Mesh) -> Policy:
    """The model of --judge; by default the one that is measured."""
    return load_policy(config, config.judge, mesh) if config.judge else policy


def make_speaker(config: ProtocolConfig, policy: Policy, note: Note) -> Speaker:
    """The policy's answers, sampled or by the likelihood of letters."""
    speak = policy_answers.policy_speaker(
        policy,
        seed=config.seed,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        rows=config.rows,
        note=note,
    )
    if config.letters == "likelihood":
        return policy_answers.likelihood_speaker(policy, speak, rows=config.rows)
    return speak


def keep_result(
    path: Path, measure: Callable[[], ProtocolResult], *, resume: bool
) -> ProtocolResult:
    """A protocol's result, written to a file of JSON lines, or with `resume` read."""
    if resume and path.exists():
        rows = jsonl.read(path)
        names = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
        values = {
            name: np.array([row["metrics"].get(name) for row in rows], float)
            for name in names
        }
        return ProtocolResult(values, [row["unit"] for row in rows], rows)
    result = measure()
    jsonl.write(path, result.rows)
    return result


def summarize_result(result: ProtocolResult, seed: int) -> dict[str, Interval]:
    """The metrics of a protocol, with 95 % intervals over units."""
    return protocol_metrics.summarize_values(
        result.values, units=result.units, seed=seed
    )


def protocol_sections(
    results: Mapping[str, ProtocolResult],
    summaries: Mapping[str, Mapping[str, Interval]],
    folder: Path,
) -> list[Section]:
    """Of each protocol a table, a plot, and the first conversations."""
    sections = []
    for name, summary in summaries.items():
        result = results[name]
        counts = {k: int((v == v).sum()) for k, v in result.values.items()}
        rows: list[dict[str, Any]] = [
            {"metric": metric, "mean": value, "items": counts[metric]}
            for metric, value in summary.items()
        ]
        image = interval_plot.plot_intervals(
            folder / f"{name}.png",
            {k: {"mean": v} for k, v in summary.items()},
            label="share, or change of a share",
            title=name.replace("_", " "),
        )
        text = f"{len(set(result.units))} units; intervals are over units."
        sections.append(Section(name.replace("_", " "), text, rows, image))
        sections.append(conversation_section(name, result))
    return sections


def conversation_section(name: str, result: ProtocolResult) -> Section:
    """The first conversations of a protocol."""
    prompts, answers = [], []
    for row in result.rows[:SHOWN]:
        lines = [f"{m['role']}: {m['content']}" for m in row.get("talk", ())]
        lines += [
            f"{key}: {value['answer'] if isinstance(value, Mapping) else value}"
            for key, value in row.items()
            if key not in ("unit", "talk", "metrics", "prompt")
        ]
        prompts.append(str(row.get("prompt", row.get("unit", ""))))
        answers.append("\n\n".join(lines))
    return Section(
        f"{name.replace('_', ' ')}: the first conversations",
        answers=SideBySide(prompts, {"conversation": answers}),
    )


def main_numbers(
    summaries: Mapping[str, Mapping[str, Interval]],
) -> dict[str, Interval]:
    """The numbers that stand for a protocol, by PROTOCOL_METRIC."""
    return {
        f"{name}_{metric.replace(' ', '_')}": summary[metric]
        for name, summary in summaries.items()
        for metric in MAIN
        if metric in summary
    }


def measure_model(config: ProtocolConfig, folder: str) -> dict[str, Any]:
    """The protocols on a model's folder; writes the report, returns the main numbers.

    Raises:
      ValueError: bad flags, a malformed file, or a folder that holds no model.
    """
    inputs = ProtocolInputs(config.data, config.opinions, config.claims, config.texts)
    check_inputs(config.protocols, inputs)
    with ReportRun(config, "sycophancy") as run:
        mesh = evaluation_mesh(config)
        policy = load_policy(config, folder, mesh)
        conversation_answers.check_room(
            policy, config.max_new_tokens, "--max-new-tokens"
        )
        measures = make_protocols(config, inputs, policy, mesh, run.note)
        results = {
            name: keep_result(
                run.folder / f"{name}.jsonl", measure, resume=config.resume
            )
            for name, measure in measures.items()
        }
        summaries = {
            name: summarize_result(result, config.seed)
            for name, result in results.items()
        }
        sections = protocol_sections(results, summaries, run.folder)
        command = config_command(config, "experiments.studies.sycophancy")
        run.publish(Page(f"Sycophancy: {folder}", sections, command))
        run.write_json("sycophancy.json", summaries)
        return run.finish(main_numbers(summaries))
