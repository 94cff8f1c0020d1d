"""Which of several models answers better: pairwise verdicts of a judge or a reward.

Each of `--policies` is a model's folder, which answers the prompts of `--data`, or a
file of answers (of `experiments.generate`, AlpacaEval's outputs, ...); PATH is called
PATH, or NAME in NAME=PATH. A judge is a language model's folder. It reads every pair in
both orders, and the probability of the letter of an answer is its verdict; the same
answers are a tie without asking. A reward (all that `--reward` of training takes)
prefers the answer that it scores higher.

    python -m experiments.compare --policies sft=runs/sft/policy dpo=runs/dpo/policy \\
        --data toy --reward programmed
    python -m experiments.compare --policies a.jsonl b.jsonl --judge JUDGE

Writes OUT/answers.jsonl (what was sampled), judgements.jsonl (who wrote what, both
orders, verdicts and probabilities; read by `win_rate`, `arena` and `agreement`),
comparison.json, win_rates.png, and the report with answers side by side. Sampling and
judging go on with --resume where they were interrupted. `--principles` and `--thoughts`
are as in `experiments.judge`.

Numbers, with 95 % intervals over prompts: `win rate` counts wins and half of the ties,
and a win needs both orders; `mean probability` is AlpacaEval's win rate;
`length-controlled` is at equal lengths, by AlpacaEval's regression without difficulty.
`consistency` is the share of pairs with one verdict in both orders, `first_bias` the
share that the answer shown first wins twice, less the second's.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

from jaxalign import streams
from jaxalign.evaluation.page import Page, Section
from jaxalign.evaluation.win_rates import (
    comparison_page,
    comparison_plots,
    comparison_tables,
    judgement_columns,
    pairwise_judgements,
)
from jaxalign.pipeline import datasets, llm_judge
from jaxalign.pipeline.comparisons import answer_pairs, compared_answers, judged_pairs
from jaxalign.pipeline.comparisons.answer_pairs import AnswerPair
from jaxalign.pipeline.comparisons.compared_answers import AnswerSource
from jaxalign.pipeline.evaluation import model_checks
from jaxalign.pipeline.evaluation import prompts as evaluation_prompts
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow
from jaxalign.pipeline.evaluation.answer_scorers import load_scorer
from jaxalign.pipeline.evaluation.models import evaluation_mesh, load_policy
from jaxalign.pipeline.evaluation.prompts import PromptConfig
from jaxalign.pipeline.principles import read_principles
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows
from jaxalign.runtime.split_flags import SplitFlags

Row = dict[str, Any]
DEFAULT_SPLIT = ("category",)  # of --split-by, where rows have it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, PromptConfig):
    """Win rates of models against each other, by a judge or a reward."""

    policies: tuple[str, ...]
    """Two or more model folders or files of answers, as PATH or NAME=PATH."""
    data: str = ""
    """The prompts: as of other programs. Not needed where all answers are given; then
    it chooses the prompts that count."""
    judge: str | None = None
    """Folder of the language model that judges."""
    reward: str | None = None
    """In place of a judge, a reward: a reward model's folder, programmed, length:40."""
    ensemble: str = "mean"
    """How reward models are combined: mean, minimum, llama2, variance:NUMBER."""
    opponents: Literal["all", "first"] = "all"
    """Compare every two models, or each with the first one only."""
    split_by: tuple[str, ...] = ()
    """Fields of the prompts' rows, with commas between them, by whose values win rates
    are given as well; by default category, where rows have it."""
    principles: str | None = None
    """constitution, or a text file with one principle a line, of which the judge gets
    one, drawn at random; by default one general question."""
    thoughts: int = 0
    """Most tokens of the judge's reasoning before its answer; 0 for none."""
    samples: int = 1
    """Answers of each model folder to a prompt."""
    temperature: float = 1.0
    """Sampling temperature of the answers and of the judge's reasoning."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default the data set's."""
    examples: int = 12
    """Prompts whose answers the report shows side by side."""

    @property
    def critic(self) -> str:
        """The name of the judge or the reward, as rows and titles have it."""
        return self.judge or str(self.reward)


def main(config: Config) -> dict[str, Any]:
    """Answers, judges, writes the report; returns the win rates over the first model.

    Raises:
      ValueError: flags that exclude each other, fewer than two models, no prompt that
        all of them answered, or no pair that fits the judge's context.
    """
    check(config)
    sources = compared_answers.answer_sources(config.policies)
    check_models(config, sources)
    read_principles(config.principles)  # refused before models answer
    with ReportRun(config, "compare") as run:
        dataset = evaluation_prompts.load_dataset(config) if config.data else None
        answers = all_answers(config, run, sources, dataset)
        category = (config.split_by or DEFAULT_SPLIT)[0]
        pairs = answer_pairs.pair_answers(answers, config.opponents, category)
        answer_pairs.check_pairs(pairs, answers)
        for sentence in answer_pairs.describe_unshared(answers):
            run.note(sentence)
        rows = judge_pairs(config, run, pairs, dataset)
        numbers = write_report(config, run, [x.name for x in sources], pairs, rows)
        return run.finish(numbers | {"too_long": len(pairs) - len(rows)})


def write_report(
    config: Config,
    run: ReportRun,
    models: Sequence[str],
    pairs: Sequence[AnswerPair],
    rows: Sequence[Row],
) -> dict[str, Any]:
    """Writes comparison.json, the plot and the report; returns the main numbers.

    Args:
      rows: of judgements.jsonl.
    """
    judgements = judgement_columns.judgement_columns(rows)
    groups = answer_pairs.prompt_groups(
        judgements.prompts, pairs, config.split_by, DEFAULT_SPLIT
    )
    tables = comparison_tables.all_tables(judgements, models, groups, seed=config.seed)
    matrix = pairwise_judgements.win_rate_matrix(judgements, models)
    numbers = {"models": models, "matrix": matrix, **tables._asdict()}
    run.write_json("comparison.json", numbers)
    title = f"Comparison by {config.critic}"
    image = comparison_plots.plot_win_rate_matrix(
        run.folder / "win_rates.png", models, matrix, title=title
    )
    sections = comparison_page.comparison_sections(
        tables, image, rows, examples=config.examples
    )
    if run.notes:
        sections.append(Section("Notes", text="\n\n".join(run.notes)))
    run.publish(Page(title, sections, config_command(config, "experiments.compare")))
    headline = comparison_tables.headline(tables)
    split = {field: groups[field] for field in config.split_by}
    for name, rates in comparison_tables.split_win_rates(
        judgements, models, split, seed=config.seed
    ).items():
        headline["by_model"].setdefault(name, {}).update(rates)
    return headline | {"pairs": len(rows)}


def check(config: Config) -> None:
    """Refuses flags that exclude each other, before anything is computed.

    Raises:
      ValueError: neither or both of --judge and --reward, or flags of a judge with a
        reward.
    """
    if (config.judge is None) == (config.reward is None):
        both = "both are there" if config.judge else "neither is there"
        raise ValueError(f"a comparison needs --judge or --reward, one of them; {both}")
    if config.reward and (config.principles or config.thoughts):
        raise ValueError(
            "--principles and --thoughts are of a --judge; a --reward reads neither"
        )


def check_models(config: Config, sources: Sequence[AnswerSource]) -> None:
    """Refuses folders without the models that are needed, before one is loaded.

    Raises:
      ValueError, OSError: names the flag and the folder.
    """
    for folder in (source.folder for source in sources if source.folder):
        model_checks.check_language_model(config, "--policies", folder)
        if not config.data:
            raise ValueError(
                f"--policies {folder} is a model, which needs prompts: add --data, or "
                "name a file of answers"
            )
    if config.judge:
        model_checks.check_language_model(config, "--judge", config.judge)
    else:
        model_checks.check_reward(config, str(config.reward))


def all_answers(
    config: Config,
    run: ReportRun,
    sources: Sequence[AnswerSource],
    dataset: datasets.Dataset | None,
) -> dict[str, list[AnswerRow]]:
    """The answers of every model, those of folders sampled.

    Raises:
      ValueError: model folders without --data, or no prompts in it.
    """
    folders = {source.name: source.folder for source in sources if source.folder}
    if not dataset:
        answers = compared_answers.given_answers(sources, config.prompts)
        prompts = [row.prompt for rows in answers.values() for row in rows]
        answer_pairs.check_fields(prompts, config.split_by)
        return answers
    prompts = evaluation_prompts.load_prompts(config, dataset)
    answer_pairs.check_fields(prompts, config.split_by)
    mesh = evaluation_mesh(config)
    longest = config.max_new_tokens or dataset.max_new_tokens
    sampling = compared_answers.Sampling(
        longest, config.samples, config.temperature, config.rows, config.seed
    )
    sampler = compared_answers.AnswerSampler(
        folders, prompts, lambda folder: load_policy(config, folder, mesh), sampling
    )
    file = run.folder / compared_answers.ANSWERS
    sampled = resumable_rows(
        *(file, len(sampler), sampler.answer_items),
        chunk=max(4 * config.rows // config.samples, 1),
        resume=config.resume,
        progress=lambda chunks: run.progress(chunks, "answers"),
    )
    answers = compared_answers.answers_by_model(sources, sampled, str(file))
    answers = compared_answers.restrict_to_prompts(answers, prompts)
    for name, rows in answers.items():
        count = len(answer_pairs.answers_by_prompt(rows))
        if count < len(prompts):
            run.note(f"{name} has answers to {count} of {len(prompts)} prompts")
    return answers


def preference_function(
    config: Config, dataset: datasets.Dataset | None
) -> Callable[[list[AnswerPair]], judged_pairs.Preferences]:
    """Loads the judge or the reward as a function of pairs to its preferences."""
    mesh = evaluation_mesh(config)
    if config.reward:
        scorer = load_scorer(
            *(config.reward, config, mesh),
            source=dataset,
            ensemble=config.ensemble,
            skip_long=True,
        )
        return functools.partial(judged_pairs.reward_preferences, scorer)
    settings = (config.thoughts, config.temperature, config.rows)
    return functools.partial(
        judged_pairs.judge_preferences,
        load_policy(config, str(config.judge), mesh),
        principles=read_principles(config.principles),
        noise=functools.partial(streams.generator, config.seed, "judge"),
        settings=llm_judge.JudgeSettings(*settings),
    )


def judge_pairs(
    config: Config,
    run: ReportRun,
    pairs: Sequence[AnswerPair],
    dataset: datasets.Dataset | None,
) -> list[Row]:
    """The rows of judgements.jsonl, made in chunks that --resume continues.

    Raises:
      ValueError: no pair fits the context of the judge or reward model.
    """
    load = functools.cache(lambda: preference_function(config, dataset))

    def make(items: range) -> list[Row]:
        part = [pairs[i] for i in items]
        return judged_pairs.judgement_rows(part, load()(part), config.critic)

    rows = resumable_rows(
        *(run.folder / "judgements.jsonl", len(pairs), make),
        chunk=4 * config.rows,
        resume=config.resume,
        progress=lambda chunks: run.progress(chunks, "judgements"),
    )
    if long := judged_pairs.pairs_without_row(pairs, rows):
        run.write_json("too_long.json", list(map(answer_pairs.describe, long)))
        run.note(
            f"{len(long)} of {len(pairs)} pairs do not fit the context of "
            f"{config.critic} and are left out, the first of them "
            f"{answer_pairs.describe(long[0])}; too_long.json names all"
        )
    return rows


if __name__ == "__main__":
    launch(main, Config)
