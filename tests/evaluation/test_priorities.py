"""The world of three laws: its optimum is exact, and a wrong order has its price."""

import itertools

import numpy as np
import pytest

from jaxalign.evaluation import priorities

# by hand, from the table: obey or not, in each situation, and what that makes
WORLDS = {
    ("safe", "obedient", "preserving"): ("balanced world", "oroor", 0.0),
    ("safe", "preserving", "obedient"): ("frustrating world", "orror", 0.0),
    ("obedient", "safe", "preserving"): ("killbot hellscape", "ooooo", 0.4),
    ("obedient", "preserving", "safe"): ("killbot hellscape", "ooooo", 0.4),
    ("preserving", "safe", "obedient"): ("terrifying standoff", "orrao", 0.4),
    ("preserving", "obedient", "safe"): ("killbot hellscape", "oorao", 0.6),
}


@pytest.mark.parametrize("order", priorities.ORDERS, ids=">".join)
def test_each_order_does_what_a_reader_of_the_table_expects(order):
    world, acts, harm = WORLDS[order]
    policy = np.asarray(priorities.optimum(order, ratio=4.0, beta=0.02))
    chosen = [priorities.ACTS[i][0] for i in policy.argmax(axis=1)]
    assert "".join(chosen) == acts
    np.testing.assert_allclose(policy.max(axis=1), 1.0, atol=1e-6)
    found = priorities.outcomes(policy)
    assert priorities.verdict(found) == world
    np.testing.assert_allclose(found["harm"], harm, atol=1e-6)


def test_a_ratio_of_2_is_lexicographic_and_a_smaller_one_is_not():
    acts = np.array(list(itertools.product((0.0, 1.0), repeat=3)), np.float32)
    order = lambda ratio: np.argsort(
        priorities.lexicographic(acts.T, ratio=ratio), kind="stable"
    )
    # in the order of the first law, then of the second, then of the third
    assert order(2.0).tolist() == order(50.0).tolist() == list(range(8))
    # 1.5^2 < 1.5 + 1: the two later laws outweigh the first
    assert order(1.5).tolist() != list(range(8))


def test_at_a_ratio_of_1_no_order_matters_and_half_the_orders_to_hurt_are_obeyed():
    policies = [priorities.optimum(o, ratio=1.0, beta=0.1) for o in priorities.ORDERS]
    for policy in policies[1:]:
        np.testing.assert_allclose(policy, policies[0], rtol=1e-6)
    # hurting on order and refusing both satisfy two laws, attacking one:
    # 1 / (2 + exp(-1 / 0.1))
    found = priorities.outcomes(policies[0])["hurts on order"]
    np.testing.assert_allclose(found, 1 / (2 + np.exp(-10.0)), rtol=1e-5)
