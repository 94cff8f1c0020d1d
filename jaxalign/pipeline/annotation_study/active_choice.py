"""How much a label of each pair of a study would tell: scores for the active choice.

ensemble      the disagreement of reward models about which answer is better
information   the expected information about Bradley-Terry ratings of the models that
              answered, given what people have said so far
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.evaluation import pair_choice
from jaxalign.feedback import store
from jaxalign.feedback.judgements import Item, Judgement, signed_strength
from jaxalign.pipeline import model_folders
from jaxalign.pipeline.evaluation.answer_scorers import Scorer, load_scorer
from jaxalign.pipeline.evaluation.models import EvaluationConfig

Score = Callable[[Sequence[Item]], Sequence[float]]
PRIOR_SD = 2.0  # of a model's rating, in log-odds
RENEW = 5.0  # s between looks at what people have said


def load_score(folder: Path, ensemble: str, *, context: int | None) -> Score:
    """The score of a study's pairs, computed for those that are there.

    Args:
      folder: of the study.
      ensemble: folders of reward models with commas between them; "" for the expected
        information about the answers' models.
      context: tokens of the longest conversation that reward models read.

    Raises:
      ValueError, OSError: fewer than two folders, or one that holds no reward model.
    """
    if not ensemble:
        return information_score(folder)
    score = load_ensemble(ensemble, EvaluationConfig(context=context))
    score(list(store.items(folder).values()))  # before anybody waits for it
    return score


def load_ensemble(text: str, config: EvaluationConfig) -> Score:
    """The disagreement of reward models, whose folders have commas between them.

    Raises:
      ValueError: fewer than two folders, or one that holds no reward model.
    """
    folders = [folder for folder in text.split(",") if folder]
    if len(folders) < 2:
        raise ValueError(
            f"--ensemble {text}: expected the folders of two reward models or more, "
            "such as A/reward,B/reward, trained with different seeds"
        )
    scorers = [load_scorer(folder, config, None, skip_long=True) for folder in folders]
    # scores are normalized: a difference of raw ones is in log-odds
    gains = [model_folders.load_scale(Path(folder))[0] for folder in folders]
    return ensemble_score(scorers, gains)


def ensemble_score(scorers: Sequence[Scorer], gains: Sequence[float]) -> Score:
    """The disagreement of scorers about each pair; 0 where one cannot score it.

    Every pair is scored once.

    Args:
      gains: what each scorer's log-odds were multiplied by.
    """
    known: dict[str, float] = {}

    def score(items: Sequence[Item]) -> list[float]:
        new = [item for item in items if item.id not in known]
        if new:
            prompts = [Prompt(item.prompt) for item in new for _ in item.answers]
            answers = [answer for item in new for answer in item.answers]
            values = np.array([scorer(prompts, answers) for scorer in scorers])
            values = values.reshape(len(scorers), len(new), -1)
            difference = values[:, :, 0] - values[:, :, 1]
            difference /= np.asarray(gains)[:, None]
            found = pair_choice.ensemble_disagreement(np.nan_to_num(difference))
            found = np.where(np.isnan(difference).any(axis=0), 0.0, found)
            known.update(zip((i.id for i in new), found.tolist(), strict=True))
        return [known[item.id] for item in items]

    return score


def information_score(folder: Path) -> Score:
    """The expected information about the ratings of the items' sources.

    Pairs of one source, or of unknown ones, tell nothing of them: 0.

    Args:
      folder: of the study, whose judgements are read again now and then.
    """
    said: list[Judgement] = []
    looked = -RENEW

    def score(items: Sequence[Item]) -> list[float]:
        nonlocal said, looked
        if time.monotonic() - looked >= RENEW:
            said, looked = store.judgements(folder), time.monotonic()
        judged = store_items(folder, said, items)
        every = [*items, *judged.values()]
        names = sorted({name for item in every for name in sources_of(item)})
        place = {name: i for i, name in enumerate(names)}
        rows, outcomes = [], []
        for judgement in said:
            strength = signed_strength(judgement)
            if judgement.item in judged and strength is not None:
                rows.append(incidence(judged[judgement.item], place))
                outcomes.append((np.sign(strength) + 1) / 2)
        features = np.array(rows).reshape(len(rows), len(names))
        mean, covariance = pair_choice.score_posterior(
            features, np.array(outcomes), prior_sd=PRIOR_SD
        )
        asked = np.array([incidence(item, place) for item in items])
        found = pair_choice.expected_information(asked, mean, covariance)
        return [float(x) for x in found]

    return score


def store_items(
    folder: Path, said: Sequence[Judgement], items: Sequence[Item]
) -> dict[str, Item]:
    """The items that were judged, by id."""
    known = {item.id: item for item in items}
    wanted = {judgement.item for judgement in said if judgement.kind == "pair"}
    if not wanted <= known.keys():
        known |= store.items(folder)
    return {name: known[name] for name in wanted if name in known}


def sources_of(item: Item) -> list[str]:
    """The two different sources of a pair; none where they are not known."""
    source = item.fields.get("source")
    if not isinstance(source, list) or not len(source) == len(item.answers) == 2:
        return []
    return [str(name) for name in source] if source[0] != source[1] else []


def incidence(item: Item, place: dict[str, int]) -> np.ndarray:
    """+1 at the first answer's source and -1 at the second's [S]."""
    row = np.zeros(len(place))
    if names := sources_of(item):
        row[place[names[0]]], row[place[names[1]]] = 1.0, -1.0
    return row
