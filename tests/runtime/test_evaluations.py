"""When a run is evaluated, which evaluation is the best, and when patience is over."""

import math

import pytest

from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.evaluations import Evaluations
from jaxalign.runtime.training_config import OfflineConfig

BEST = {"keep_best": "-eval/loss", "eval_every": 2}


def made(losses, **told):
    """The evaluations of a run with these held-out losses, one every second step."""
    evaluations = Evaluations(OfflineConfig(**BEST | told))
    for i, loss in enumerate(losses):
        evaluations.add(2 * i, {"loss": loss})
    return evaluations


def test_due_at_the_start_at_the_end_and_between_if_told():
    due = lambda every, total: [
        step
        for step in range(total + 1)
        if Evaluations(OfflineConfig(eval_every=every)).is_due(step, total)
    ]
    assert due(0, 5) == [0, 5] and due(2, 5) == [0, 2, 4, 5] and due(9, 5) == [0, 5]
    # one that is made is not made again: a resumed run does not repeat it
    assert not made([1.0]).is_due(0, 5) and made([1.0]).is_due(2, 5)


def test_the_best_is_the_first_of_the_best():
    lowest = made([0.9, 0.5, 0.7, 0.5])
    assert lowest.best()["step"] == 2 and not lowest.has_improved()
    highest = made([0.9, 0.5, 1.5], keep_best="eval/loss")
    assert highest.best()["step"] == 4 and highest.has_improved()
    assert made([math.nan, 0.5, math.nan]).best()["step"] == 2
    # a metric of training has nothing to do with evaluations
    assert made([0.9, 0.5], keep_best="reward").best() is None


def test_patience_counts_evaluations_since_the_best():
    stops = lambda losses, n: made(losses, patience=n).should_stop()
    assert not stops([0.9, 0.5, 0.6], 2) and stops([0.9, 0.5, 0.6, 0.5], 2)
    # an improvement begins it anew
    assert not stops([0.9, 0.5, 0.6, 0.4, 0.6], 2)
    assert not stops([0.9] * 9, 0)  # without --patience never
    text = made([0.9, 0.5, 0.6, 0.7], patience=2).stop_text(50)
    assert "after 6 of 50 steps: 2 evaluations without a better eval/loss" in text
    assert "0.5, after step 2" in text


@pytest.mark.parametrize(
    "told, message",
    [
        ({"patience": 2}, "--patience 2 waits for a better --keep-best eval/METRIC"),
        ({"patience": 2, "keep_best": "reward"}, "waits for a better --keep-best eval"),
        ({"patience": 2, "keep_best": "eval/loss"}, "--patience 2 needs --eval-every"),
        ({"export_best": True}, "--export-best needs --keep-best"),
        ({"eval_rows": 0}, "--eval-rows 0: it should be a whole number from 1"),
        ({"eval_every": -1}, "--eval-every -1"),
    ],
)
def test_flags_that_cannot_mean_anything_are_refused(told, message):
    with pytest.raises(ValueError, match=message):
        Evaluations(OfflineConfig(**told))


def test_a_metric_that_is_not_there_and_nothing_held_out():
    with pytest.raises(ValueError, match="no metric 'eval/los' in .'eval/loss'"):
        made([0.5], keep_best="eval/los")
    with pytest.raises(ValueError, match="--keep-best -eval/loss: no rows are held"):
        made([]).require_held_out(0)
    assert not Evaluations(OfflineConfig()).require_held_out(0)
    # experiments without held-out evaluations have none of their flags
    assert Evaluations(RunConfig()).every == 0
