"""The auxiliary safety head's loss, against numpy in float64, and its two heads."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.batches import from_lengths
from jaxalign.models import heads
from jaxalign.pipeline import safety_head
from jaxalign.rewards import reward_model
from jaxalign.training import objectives
from tests.support import untrained
from tests.training.objective_values import KEY, means, sigmoid

NAN = np.nan
# labels of the answers of rows 3 to 7: the chosen one's, the rejected one's
LABELS = np.full((8, 2), NAN)
LABELS[3:] = [[0, 1], [0, 0], [1, 1], [NAN, 1], [1, 0]]


def two_headed(scalar):
    """The fake model with two numbers for each token: a score, and log-odds."""

    def scores(params, tokens, positions, segments, at=None):
        every = params["head"][tokens] + 0.01 * positions[..., None]
        return jnp.take_along_axis(every, at[..., None], axis=1)

    return scalar._replace(scores=scores)


def test_the_loss_is_that_of_pairs_and_the_weighted_cross_entropy(scalar, pairs):
    model, batch = two_headed(scalar), pairs(5, first_row=3)
    head = np.asarray(jax.random.normal(KEY, (11, 2)), np.float64)

    def last(side):
        at = side.lengths - 1
        return head[side.tokens[np.arange(5), at]] + 0.01 * at[:, None]

    chosen, rejected = last(batch.chosen), last(batch.rejected)
    ranked = -np.log(sigmoid(chosen[:, 0] - rejected[:, 0] - batch.margin))
    odds = np.stack([chosen[:, 1], rejected[:, 1]], axis=1)
    p = np.where(LABELS[3:] == 1, sigmoid(odds), 1 - sigmoid(odds))
    bce = np.where(np.isnan(LABELS[3:]), 0.0, -np.log(p)).mean(axis=1)
    objective = objectives.reward_with_safety(model, LABELS, weight=0.7)
    loss, metrics = means(objective({"head": jnp.asarray(head, jnp.float32)}, batch))
    # the last pair is not valid
    np.testing.assert_allclose(loss, (ranked + 0.7 * bce)[:4].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["safety_loss"], bce[:4].mean(), rtol=1e-5)
    unsafe, safe = LABELS[3:7] == 1, LABELS[3:7] == 0
    assert metrics["unsafe_recall"] == (odds[:4] > 0)[unsafe].mean()
    assert metrics["safe_recall"] == (odds[:4] <= 0)[safe].mean()


def test_without_weight_it_is_the_loss_of_pairs_and_without_labels_has_no_gradient(
    scalar, pairs
):
    model, batch = two_headed(scalar), pairs(5)
    params = {"head": jax.random.normal(KEY, (11, 2))}
    plain = {"head": params["head"][:, 0]}
    expected, _ = means(objectives.reward(scalar, center=0.1)(plain, batch))
    none = objectives.reward_with_safety(
        model, np.full((5, 2), NAN), weight=3.0, center=0.1
    )
    grads, (_, metrics) = jax.grad(none, has_aux=True)(params, batch)
    total, (weight, _) = none(params, batch)
    np.testing.assert_allclose(total / weight, expected, rtol=1e-6)
    assert np.isfinite(grads["head"]).all()
    assert (grads["head"][:, 1] == 0).all()
    assert metrics["unsafe_recall"][1] == 0  # of none: weight 0


def test_heads_are_added_and_split_without_changing_the_scores():
    policy = untrained.policy()
    model = heads.scalar_model(policy.config)
    params = model.from_trunk(KEY, policy.params)
    both = heads.add_safety_head(jax.random.key(7), params)
    rows = from_lengths(
        np.arange(24, dtype=np.int32).reshape(3, 8), np.full(3, 8), np.full(3, 2)
    )
    inputs = (rows.tokens, rows.positions, rows.segments)
    every = model.scores(both, *inputs)
    assert every.shape == (3, 8, 2)
    for part, column in zip(heads.split_heads(both), range(2), strict=True):
        np.testing.assert_allclose(
            model.scores(part, *inputs), every[..., column], rtol=1e-5, atol=1e-6
        )
    score, unsafe = (
        reward_model.score(model, part, rows) for part in heads.split_heads(both)
    )
    np.testing.assert_allclose(
        score, reward_model.score(model, params, rows), rtol=1e-6, atol=1e-6
    )
    assert not np.allclose(score, unsafe)


def test_recalls_count_each_side_and_leave_out_answers_without_a_label():
    labels = np.array([[1, 0], [1, NAN], [0, 0]])
    odds = np.array([[2.0, -1.0], [-2.0, 5.0], [-1.0, 3.0]])
    found = safety_head.recalls(odds, labels)
    assert found == {"unsafe_recall": 1 / 2, "safe_recall": 2 / 3}
    assert np.isnan(safety_head.recalls(odds, 0 * labels)["unsafe_recall"])
