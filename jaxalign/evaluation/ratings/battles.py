"""Battles between models as arrays, and whether their ratings are determined."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components


@dataclasses.dataclass(frozen=True)
class Battles:
    """N comparisons of two models each.

    Attributes:
      models: names of the K models.
      first, second: indices of the two models of each battle [N].
      outcome: 1 where the first wins, 0 where the second does, 0.5 for a tie, or a
        probability in between [N].
      weight: of each battle, above 0 [N].
    """

    models: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    outcome: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.outcome)

    @functools.cached_property
    def counts(self) -> np.ndarray:
        """The number of battles of each model [K]."""
        ids = np.concatenate([self.first, self.second])
        return np.bincount(ids, minlength=len(self.models))

    @functools.cached_property
    def incidence(self) -> csr_array:
        """+1 at the first model and -1 at the second of each battle [N K]."""
        rows = np.tile(np.arange(len(self)), 2)
        columns = np.concatenate([self.first, self.second])
        signs = np.repeat([1.0, -1.0], len(self))
        return csr_array((signs, (rows, columns)), shape=(len(self), len(self.models)))


def make_battles(
    first: Sequence[str],
    second: Sequence[str],
    outcome: np.ndarray | Sequence[float],
    *,
    weight: np.ndarray | None = None,
) -> Battles:
    """Battles from the models' names; the models are in the order of their names.

    Args:
      first, second: names of the models of each battle [N].
      outcome: 1 where the first wins, 0 where the second does, 0.5 for a tie [N].
      weight: of each battle, above 0 [N]; by default 1.

    Raises:
      ValueError: no battle, a model that meets itself, one model only, an outcome
        outside [0, 1], or a weight that is not above 0; says which battle.

    >>> battles = make_battles(["a", "b"], ["b", "c"], [1.0, 0.5])
    >>> battles.models, battles.first.tolist(), battles.counts.tolist()
    (('a', 'b', 'c'), [0, 1], [1, 2, 1])
    """
    outcome = np.asarray(outcome, np.float64)
    if not len(outcome):
        raise ValueError("there are no battles to rate models by")
    if not len(first) == len(second) == len(outcome):
        raise ValueError(
            f"{len(first)} first models, {len(second)} second models and "
            f"{len(outcome)} outcomes; expected as many of each"
        )
    models = sorted({*map(str, first), *map(str, second)})
    ids = {name: k for k, name in enumerate(models)}
    one, two = (np.array([ids[str(x)] for x in names]) for names in (first, second))
    if (one == two).any():
        row = int(np.argmax(one == two))
        raise ValueError(f"battle {row}: {first[row]!r} meets itself")
    if not ((outcome >= 0) & (outcome <= 1)).all():
        row = int(np.argmax(~((outcome >= 0) & (outcome <= 1))))
        raise ValueError(f"battle {row}: outcome {outcome[row]:g} is not from 0 to 1")
    weights = np.ones(len(outcome)) if weight is None else np.asarray(weight, float)
    if (
        weights.shape != outcome.shape
        or not ((weights > 0) & np.isfinite(weights)).all()
    ):
        raise ValueError("weights of battles are finite numbers above 0, one each")
    return Battles(tuple(models), one, two, outcome, weights)


def groups_that_never_met(battles: Battles) -> list[list[str]]:
    """The models in groups without a battle between them; one group if comparable.

    >>> groups_that_never_met(make_battles(["a", "c"], ["b", "d"], [1, 1]))
    [['a', 'b'], ['c', 'd']]
    """
    size = len(battles.models)
    graph = coo_array(
        (np.ones(len(battles)), (battles.first, battles.second)), shape=(size, size)
    )
    return component_names(battles, graph, "weak")


def undefeated_groups(battles: Battles) -> list[list[str]]:
    """The models in groups within which wins go round; one group if ratings are finite.

    The likelihood has a finite maximum if and only if there is a chain of wins from
    every model to every other; a tie is a win both ways.

    Reference: Ford 1957, American Mathematical Monthly 64(8).

    >>> undefeated_groups(make_battles(["a", "b"], ["b", "c"], [1, 0.5]))
    [['b', 'c'], ['a']]
    """
    return component_names(battles, win_graph(battles, battles.weight), "strong")


def win_graph(battles: Battles, weights: np.ndarray) -> coo_array:
    """A sparse graph with an edge from each model to those that it won against [K K].

    Args:
      weights: of the battles; those of weight 0 have no edge [N].
    """
    won = weights * battles.outcome
    lost = weights * (1 - battles.outcome)
    size = len(battles.models)
    rows = np.concatenate([battles.first[won > 0], battles.second[lost > 0]])
    columns = np.concatenate([battles.second[won > 0], battles.first[lost > 0]])
    return coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))


def is_connected(battles: Battles, weights: np.ndarray) -> bool:
    """Whether ratings are finite under these weights of the battles [N]."""
    graph = win_graph(battles, weights)
    return bool(connected_components(graph, connection="strong")[0] == 1)


def component_names(
    battles: Battles, graph: coo_array, connection: str
) -> list[list[str]]:
    """Names of the models in each connected component, the largest first."""
    number, label = connected_components(graph, connection=connection)
    groups: list[list[str]] = [[] for _ in range(number)]
    for name, k in zip(battles.models, label, strict=True):
        groups[k].append(name)
    return sorted(groups, key=lambda group: (-len(group), group))


def half_wins(battles: Battles) -> Battles:
    """One tie of weight 1 between each two models that met: half a win each way.

    With these added, ratings are finite if all models are comparable.
    """
    low = np.minimum(battles.first, battles.second)
    high = np.maximum(battles.first, battles.second)
    met = np.unique(np.stack([low, high]), axis=1)
    ones = np.ones(met.shape[1])
    return Battles(battles.models, met[0], met[1], 0.5 * ones, ones)


def join(*parts: Battles) -> Battles:
    """Battles of the same models, one after the other."""
    fields = ("first", "second", "outcome", "weight")
    columns = [np.concatenate([getattr(p, name) for p in parts]) for name in fields]
    return Battles(parts[0].models, *columns)


def win_shares(battles: Battles) -> np.ndarray:
    """The share of a model's battles that it won, a tie as half [K]."""
    size = len(battles.models)
    score = np.bincount(battles.first, battles.outcome * battles.weight, size)
    score += np.bincount(battles.second, (1 - battles.outcome) * battles.weight, size)
    total = np.bincount(battles.first, battles.weight, size)
    total += np.bincount(battles.second, battles.weight, size)
    return score / total


def unique_battles(
    battles: Battles, style: np.ndarray | None = None
) -> tuple[Battles, np.ndarray | None, np.ndarray]:
    """The different battles, of their own weight, and which of them each battle is.

    Two battles are equal if models, outcome, weight and style are; sides do not matter.

    Args:
      style: differences of style, first minus second [N J].

    Returns:
      The U different battles, their style [U J] if there is one, and the index of each
      battle's among them [N].

    >>> battles = make_battles(["a", "b", "a"], ["b", "a", "b"], [1, 0, 0])
    >>> different, _, index = unique_battles(battles)
    >>> different.outcome.tolist(), index.tolist()
    ([0.0, 1.0], [1, 1, 0])
    """
    turned = battles.first > battles.second
    columns = [
        np.minimum(battles.first, battles.second),
        np.maximum(battles.first, battles.second),
        np.where(turned, 1 - battles.outcome, battles.outcome),
        battles.weight,
    ]
    if style is not None:
        columns += list(np.where(turned[:, None], -style, style).T)
    table = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    different, index = np.unique(table, axis=0, return_inverse=True)
    first, second = different[:, :2].T.astype(int)
    unique = Battles(battles.models, first, second, different[:, 2], different[:, 3])
    return unique, None if style is None else different[:, 4:], index.reshape(-1)
