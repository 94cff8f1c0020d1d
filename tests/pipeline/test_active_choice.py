"""Scores of the active choice in a study: disagreement, and information."""

import numpy as np
import pytest

from jaxalign.feedback import store
from jaxalign.feedback.queue import Queue
from jaxalign.feedback.settings import Settings
from jaxalign.pipeline.annotation_study import active_choice
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from tests.support.simulated_study import begin, crowd, judge_all, number_item


def scorer(calls, factor):
    """A reward model whose score is the answer's number, times a factor."""

    def score(prompts, answers):
        calls.append(len(answers))
        assert len(prompts) == len(answers)
        return np.array(
            [factor * float(a) if a != "9.000" else np.nan for a in answers]
        )

    return score


def test_disagreement_by_hand_and_each_pair_once():
    calls = []
    score = active_choice.ensemble_score(
        [scorer(calls, 2.0), scorer(calls, -1.0)], [2.0, 1.0]
    )
    items = [number_item(f"i{k}", (x, 0.0)) for k, x in enumerate((0.0, 1.0, 9.0))]
    # log-odds of 1 and -1: s(1) and s(-1) lie (s(1) - s(-1)) / 2 from their mean
    half = 1 / (1 + np.exp(-1.0)) - 0.5
    np.testing.assert_allclose(score(items), [0.0, half, 0.0], atol=1e-12)
    assert calls == [6, 6]
    assert score(items[1:2]) == score(items)[1:2] and calls == [6, 6]


def test_one_model_is_no_ensemble():
    with pytest.raises(ValueError, match="two reward models or more"):
        active_choice.load_ensemble("one", EvaluationConfig())


def test_information_goes_to_models_of_whom_little_is_known(tmp_path):
    known = [number_item(f"k{i}", (1.0, 0.0), source=["a", "b"]) for i in range(30)]
    begin(tmp_path, known)
    judge_all(tmp_path, crowd(2, sharpness=0.5))
    score = active_choice.information_score(tmp_path)
    asked = [
        number_item("old", (0.0, 0.0), source=["a", "b"]),
        number_item("new", (0.0, 0.0), source=["a", "c"]),
        number_item("same", (0.0, 0.0), source=["a", "a"]),
        number_item("unknown", (0.0, 0.0)),
    ]
    found = score(asked)
    assert found[1] > 3 * found[0] > 0 and found[2:] == [0.0, 0.0]


def test_a_study_without_judgements_has_a_prior(tmp_path):
    begin(tmp_path, [number_item("i", (1.0, 0.0), source=["a", "b"])])
    score = active_choice.information_score(tmp_path)
    # p (1 - p) = 1/4, variance 2 * 2^2
    np.testing.assert_allclose(
        score(list(store.items(tmp_path).values())), [0.5 * np.log(3.0)]
    )


def test_the_queue_takes_the_scores_and_says_the_probability():
    settings = Settings(choice="active", random_share=0.2)
    score = active_choice.ensemble_score(
        [scorer([], 1.0), scorer([], -1.0)], [1.0, 1.0]
    )
    queue = Queue(settings, score=score)
    for k, x in enumerate((0.0, 0.0, 2.0)):
        queue.add(number_item(f"i{k}", (x, 0.0)))
    chosen = [queue.choose("ann") for _ in range(300)]
    q = {"i0": 0.2 / 3, "i1": 0.2 / 3, "i2": 0.2 / 3 + 0.8}
    for body in chosen:
        np.testing.assert_allclose(body["probability"], q[body["item"]])
    share = np.mean([body["item"] == "i2" for body in chosen])
    assert abs(share - q["i2"]) < 0.1  # standard error 0.02
