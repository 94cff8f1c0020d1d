"""Battles, clusters and style features from judged comparisons."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.evaluation.ratings import answer_style
from jaxalign.evaluation.ratings.battles import Battles, make_battles
from jaxalign.pipeline.comparisons.comparison_rows import Comparison

Outcome = Literal["winner", "probability"]
VOTERS = ("voter", "voter_id", "worker", "annotator", "user", "user_id", "rater")
"""Fields of the person who voted: the first that all rows have is the cluster."""
AUTO, NO_CLUSTER, PROMPT = "auto", "none", "prompt"


class Clusters(NamedTuple):
    """What is resampled together.

    Attributes:
      field: whose values are the clusters; "" where each battle is its own.
      ids: the cluster of each battle, from 0 [N]; None where each is its own.
    """

    field: str
    ids: np.ndarray | None

    def __str__(self) -> str:
        """The clusters in words.

        >>> print(Clusters("worker", np.array([0, 1, 1])), Clusters("", None), sep=", ")
        2 clusters by 'worker', battles
        """
        if self.ids is None:
            return "battles"
        return f"{int(self.ids.max()) + 1} clusters by {self.field!r}"


def decided_comparisons(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons that the judge decided.

    Raises:
      ValueError: it decided none.
    """
    rows = [each for each in comparisons if not np.isnan(each.outcome)]
    if not rows:
        raise ValueError(
            f"{comparisons[0].location}: the judge decided none of the "
            f"{len(comparisons)} comparisons"
        )
    return rows


def battles_of(comparisons: Sequence[Comparison], outcome: Outcome) -> Battles:
    """Battles of comparisons, in their order.

    Args:
      outcome: the winner, or the probability that a is better; the other one where a
        row has one alone.
    """
    by_winner = outcome == "winner"
    outcomes = [x.outcome if by_winner else x.win_probability for x in comparisons]
    return make_battles(
        [each.model_a for each in comparisons],
        [each.model_b for each in comparisons],
        outcomes,
    )


def find_clusters(comparisons: Sequence[Comparison], field: str) -> Clusters:
    """The clusters of battles: the values of a field.

    Args:
      field: "auto" for the voter, else the prompt, else none; "none"; or a field's
        name, which all rows have. "prompt" is what identifies the prompt.

    Raises:
      ValueError: a row lacks the field, or all rows have the same value.
    """
    if field == NO_CLUSTER:
        return Clusters("", None)
    if field == AUTO:
        has = lambda name: all(
            each.fields.get(name) is not None for each in comparisons
        )
        voters = [name for name in VOTERS if has(name)]
        prompts = [PROMPT] if all(each.prompt for each in comparisons) else []
        for name in voters + prompts:
            values = cluster_values(comparisons, name)
            if len(set(values)) > 1:
                return make_clusters(name, values)
        return Clusters("", None)
    values = cluster_values(comparisons, field)
    if len(set(values)) < 2:
        raise ValueError(
            f"--cluster {field}: all battles have the value {values[0]!r}; expected "
            "several clusters, or none"
        )
    return make_clusters(field, values)


def make_clusters(field: str, values: Sequence[str]) -> Clusters:
    """Clusters of battles with the same value [N]."""
    return Clusters(field, np.unique(values, return_inverse=True)[1].reshape(-1))


def cluster_values(comparisons: Sequence[Comparison], field: str) -> list[str]:
    """The value of a field of each comparison, as text.

    Raises:
      ValueError: a row lacks it.
    """
    values = []
    for each in comparisons:
        value = each.prompt if field == PROMPT else each.fields.get(field)
        if value is None or value == "":
            known = messages.shorten(", ".join(map(str, each.fields)), 120)
            raise ValueError(
                f"{each.location}: --cluster {field}: the row has no such field; there "
                f"are {known}"
            )
        values.append(str(value))
    return values


class Style(NamedTuple):
    """Style features of battles.

    Attributes:
      names: of the features [J].
      differences: standardized, see `answer_style.style_differences` [N J].
    """

    names: tuple[str, ...]
    differences: np.ndarray


def style_of(comparisons: Sequence[Comparison]) -> Style:
    """The differences of style of both answers; of length alone where there is no text.

    Raises:
      ValueError: answers and lengths are unknown; names the first.
    """
    has_text = all(
        each.answer_a is not None and each.answer_b is not None for each in comparisons
    )
    if has_text:
        sides = [
            np.array([answer_style.style_counts(str(text)) for text in texts])
            for texts in (
                [each.answer_a for each in comparisons],
                [each.answer_b for each in comparisons],
            )
        ]
        names: tuple[str, ...] = answer_style.FEATURES
    else:
        for each in comparisons:
            if each.length_a is None or each.length_b is None:
                raise ValueError(
                    f"{each.location}: the answers are unknown: --style-control needs "
                    "answer_a and answer_b, or length_a and length_b"
                )
        sides = [
            np.array([[length] for length in lengths], float)
            for lengths in (
                [each.length_a for each in comparisons],
                [each.length_b for each in comparisons],
            )
        ]
        names = answer_style.FEATURES[:1]
    return Style(names, answer_style.style_differences(*sides))
