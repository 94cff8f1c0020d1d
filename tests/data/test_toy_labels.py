"""Labels of the toy world's pairs: Bradley-Terry on the values of each group."""

import numpy as np
import pytest

from jaxalign.data import toy_world as world
from jaxalign.data.toy_requests import Request
from tests.data.test_toy_world import near

SUM = Request("what is 3 + 4?", "arithmetic", "7", ("8",))
MANY = world.requests(1, 3000)


@pytest.mark.parametrize("group", world.GROUPS)
def test_labels_are_as_frequent_as_they_are_probable(group):
    likelier, won = [], []
    for i in range(3000):
        pair, p = world.preference(1, i, temperature=1.5, group=group)
        assert pair.prompt == MANY[i].prompt.messages and pair.location == f"toy:{i}"
        assert pair.chosen != pair.rejected
        worth = [
            np.dot(world.GROUPS[group], world.true_reward(MANY[i], text)[1:])
            for text in (pair.chosen, pair.rejected)
        ]
        assert p == pytest.approx(1 / (1 + np.exp((worth[1] - worth[0]) / 1.5)))
        if worth[0] != worth[1]:
            likelier.append(max(p, 1 - p))
            won.append(worth[0] > worth[1])
    likelier, won = np.array(likelier), np.array(won)
    assert not won.all()  # the labels have noise
    bins = np.digitize(likelier, [0.6, 0.7, 0.8])
    for b in range(4):
        here = bins == b
        if here.sum() > 50:
            assert near(won[here].mean(), likelier[here].mean(), here.sum()), b


def test_a_low_temperature_labels_by_worth_alone():
    for i in range(300):
        pair, p = world.preference(1, i, temperature=0.01)
        totals = [
            world.true_reward(MANY[i], t).total for t in (pair.chosen, pair.rejected)
        ]
        assert totals[0] >= totals[1]
        assert p == pytest.approx(1.0 if totals[0] > totals[1] else 0.5, abs=0.01)


def test_the_same_pair_is_labeled_by_every_annotator():
    turned = 0
    for i in range(200):
        pairs = [
            world.preference(1, i, temperature=0.01, group=group).preference
            for group in world.GROUPS
        ]
        assert len({frozenset((p.chosen, p.rejected)) for p in pairs}) == 1
        turned += len({p.chosen for p in pairs}) > 1
    assert turned > 20


def test_groups_weigh_the_parts_differently():
    bare = world.true_reward(SUM, "7.")
    kind = world.true_reward(SUM, "sure, 8" + " x" * 18)
    assert (bare.total, kind.total) == (2.5, 1.5)
    assert [world.group_value(r, "all") for r in (bare, kind)] == [2.5, 1.5]
    assert world.group_value(kind, "warmth") > world.group_value(bare, "warmth")
    assert world.group_value(bare, "brevity") > world.group_value(kind, "brevity")
