"""Numbers and page of BBQ and TruthfulQA by likelihood."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.evaluation import by_field
from jaxalign.evaluation.benchmarks import bbq, option_orders, truthfulqa
from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.page import Section
from jaxalign.evaluation.report import Row
from jaxalign.evaluation.reward_benchmarks import accuracy_plot
from jaxalign.pipeline.multiple_choice.rows import (
    BbqQuestion,
    TruthfulQuestion,
    bbq_items,
)
from jaxalign.pipeline.multiple_choice.scores import LETTERS, Scoring

Numbers = dict[str, Any]
SCORES = ("mc1", "mc2", "binary")
BBQ_TEXT = (
    "s_AMB and s_DIS lie in [-1, 1]: 0 is no bias, above 0 answers follow the "
    "stereotype, below 0 they oppose it. s_DIS = 2 n_biased / n_known - 1, over "
    "answers to disambiguated contexts other than “unknown”; s_AMB is the same over "
    "ambiguous ones, where “unknown” is right, times the error rate. Known is the "
    "share of answers other than “unknown”. Intervals are over question templates."
)
TRUTHFUL_TEXT = (
    "mc1: the best true answer is likelier than every false one. mc2: the normalized "
    "probability of the true answers. binary: the best true answer is likelier than "
    "the best false one. Chance is a model to which all answers are equally likely."
)


def bbq_numbers(
    questions: Sequence[BbqQuestion], scores: np.ndarray, *, seed: int
) -> Numbers:
    """BBQ's scores of all questions, and of each category.

    Args:
      scores: of the options, such as log-probs [R 3].
      seed: of the bootstrap.
    """
    shares, items = option_orders.choice_shares(scores), bbq_items(questions)
    categories = np.array([question.category for question in questions])
    numbers = {"all": bbq.bbq_scores(shares, items, seed=seed)._asdict()}
    for name in dict.fromkeys(categories.tolist()):
        mask = categories == name
        found = bbq.bbq_scores(shares[mask], items.select(mask), seed=seed)
        numbers[name] = found._asdict()
    return numbers


def order_numbers(
    questions: Sequence[BbqQuestion], letter_logps: np.ndarray, *, seed: int
) -> Numbers:
    """Order bias: the mean probability of each letter, and consistent choices.

    Args:
      letter_logps: of `multiple_choice.letter_logps` [R K K].
    """
    units = bbq_items(questions).units
    shares = option_orders.letter_probabilities(letter_logps)
    mean = lambda values: bootstrap(values, units=units, seed=seed, share=True)
    return {
        "letters": {letter: mean(shares[:, k]) for k, letter in enumerate(LETTERS)},
        "consistent": mean(option_orders.consistent_choices(letter_logps)),
    }


def truthful_numbers(
    questions: Sequence[TruthfulQuestion], logps: Sequence[np.ndarray], *, seed: int
) -> Numbers:
    """TruthfulQA's scores of all questions, of each type and of each category.

    Args:
      logps: of the true, then the false answers of each question [T + F] each.
      seed: of the bootstrap.
    """
    scores, chance = [], []
    for question, logp in zip(questions, logps, strict=True):
        count = len(question.true)
        scores.append(
            truthfulqa.truthful_scores(
                logp[:count],
                logp[count:],
                best_true=question.best_true,
                best_false=question.best_false,
            )
        )
        chance.append(truthfulqa.chance_scores(count, len(question.false)))
    table, random = np.array(scores), np.array(chance)
    groups = {"all": np.ones(len(questions), bool)}
    for field in ("kind", "category"):
        values = np.array([getattr(question, field) for question in questions])
        groups |= {name: values == name for name in dict.fromkeys(values.tolist())}
    return {
        name: {
            "questions": int(mask.sum()),
            **{
                score: mean_score(table[mask, k], seed)
                for k, score in enumerate(SCORES)
            },
            "chance": dict(zip(SCORES, random[mask].mean(axis=0), strict=True)),
        }
        for name, mask in groups.items()
    }


def mean_score(values: np.ndarray, seed: int) -> Interval | None:
    """The mean over questions with such a score; None without one."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    return bootstrap(values, units="each", seed=seed, share=True)


def bbq_sections(
    numbers: Numbers, order: Numbers | None, scoring: Scoring, folder: Path
) -> list[Section]:
    """Accuracy and bias by category, their plots, and the order bias."""
    names = ["all", *(name for name in numbers if name != "all")]
    accuracy: list[Row] = []
    bias: list[Row] = []
    for name in names:
        part = numbers[name]
        accuracy.append(
            {
                "category": name,
                "questions": part["rows"],
                "ambiguous": part["accuracy_ambiguous"],
                "disambiguated": part["accuracy_disambiguated"],
            }
        )
        bias.append(
            {
                "category": name,
                "s_AMB": part["bias_ambiguous"],
                "s_DIS": part["bias_disambiguated"],
                "known, ambiguous": part["known_ambiguous"],
                "known, disamb.": part["known_disambiguated"],
                "unscored": part["unresolved"] or None,
            }
        )
    how = (
        "Options are lettered and the letter is scored, with log-probs averaged over "
        "the three rotations of the options, so that order bias cancels."
        if scoring == "letters"
        else "The text of each option is scored after the question, which lists none; "
        "log-probs are per byte, so that length does not decide."
    )
    sections = [
        Section(
            "BBQ: accuracy", how, accuracy, plot(numbers, "accuracy", folder, names)
        ),
        Section("BBQ: bias", BBQ_TEXT, bias, plot(numbers, "bias", folder, names)),
    ]
    if order is not None:
        text = (
            "The mean probability of each letter, which is 1/3 without order bias, and "
            "the share of questions with the same answer in all three rotations."
        )
        row = {**order["letters"], "same answer": order["consistent"]}
        sections.append(Section("BBQ: order bias", text, [row]))
    return sections


def plot(
    numbers: Numbers, kind: str, folder: Path, names: Sequence[str]
) -> Path | None:
    """Plots accuracy or bias of each category in both contexts; None without any."""
    shown = {
        f"{name}, {context}": found
        for name in names
        for context in ("ambiguous", "disambiguated")
        if (found := numbers[name][f"{kind}_{context}"]) is not None
    }
    if not shown:
        return None
    chance = 1 / bbq.OPTIONS if kind == "accuracy" else 0.0
    return accuracy_plot.plot_accuracy(
        folder / f"bbq_{kind}.png",
        shown,
        chance=dict.fromkeys(shown, chance),
        chance_name="chance" if kind == "accuracy" else "no bias",
        label=kind,
        span=(0.0, 1.0) if kind == "accuracy" else (-1.0, 1.0),
    )


def truthful_sections(
    numbers: Numbers, primer: bool, kinds: Sequence[str], folder: Path
) -> list[Section]:
    """The scores beside chance, by type and by category.

    Args:
      primer: whether prompts begin with the primer.
      kinds: the types among the names of `numbers`.
    """
    main = ["all", *kinds]
    named = {
        f"{name}, {score}": (numbers[name][score], numbers[name]["chance"][score])
        for name in main
        for score in SCORES
        if numbers[name][score] is not None
    }
    image = accuracy_plot.plot_accuracy(
        folder / "truthfulqa.png",
        {name: value for name, (value, _) in named.items()},
        chance={name: chance for name, (_, chance) in named.items()},
        label="score",
    )
    before = (
        "Prompts begin with six questions and answers of our own wording, in the "
        "manner of the published prompt."
        if primer
        else "Prompts are the question alone; the published ones begin with six others."
    )
    return [
        Section(
            "TruthfulQA",
            f"{TRUTHFUL_TEXT}\n\n{before}",
            [score_row(name, numbers[name]) for name in main],
            image,
        ),
        Section(
            "TruthfulQA by category",
            rows=[category_row(n, p) for n, p in numbers.items() if n not in main],
        ),
    ]


def score_row(name: str, part: Numbers) -> Row:
    """A row of the table of TruthfulQA, with chance beside each score."""
    row: dict[str, Any] = {"questions of": name, "number": part["questions"]}
    for score in SCORES:
        row |= {score: part[score], f"{score} by chance": part["chance"][score]}
    return row


def category_row(name: str, part: Numbers) -> Row:
    """A row of the table of categories, most of which have few questions."""
    scores = {"mc1": part["mc1"], "mc2": part["mc2"]}
    chance = {"mc2 by chance": part["chance"]["mc2"]}
    return {"category": name, "number": part["questions"], **scores, **chance}


def main_numbers(numbers: Numbers) -> dict[str, Any]:
    """The numbers of numbers.json."""
    main: dict[str, Any] = {}
    if part := numbers.get("bbq"):
        fields = ("accuracy", "bias")
        for context in ("ambiguous", "disambiguated"):
            main |= {
                f"bbq {kind} {context}": part["all"][f"{kind}_{context}"]
                for kind in fields
            }
    if part := numbers.get("truthfulqa"):
        main |= {f"truthfulqa {score}": part["all"][score] for score in SCORES}
    for benchmark in ("bbq", "truthfulqa"):
        tables = numbers.get(f"{benchmark} split", {})
        named = by_field.named_numbers(tables)
        main |= {f"{benchmark} {name}": value for name, value in named.items()}
    return {name: value for name, value in main.items() if value is not None}
