"""The optimizer: the schedule by hand, who decays, what clipping leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.training import optimizer


def rates(**knobs):
    rate = optimizer.learning_rate_schedule(2.0, **knobs)
    return [float(rate(n)) for n in range(knobs["steps"] + 1)]


def test_schedules_by_hand():
    # warmup 2: 1/2, 2/2 of the rate; then x = 0, 1/4, 2/4, ...
    np.testing.assert_allclose(rates(steps=4, warmup=2), [1, 2, 2, 2, 2])
    linear = rates(steps=6, warmup=2, schedule="linear")
    np.testing.assert_allclose(linear, [1, 2, 2, 1.5, 1, 0.5, 0], atol=1e-6)
    # floor 0.1: 2 * (0.1 + 0.9 * (1 + cos(pi x)) / 2) at x = 0, 1/2, 1
    cosine = rates(steps=2, schedule="cosine", final_fraction=0.1)
    np.testing.assert_allclose(cosine, [2, 1.1, 0.2], rtol=1e-6)


def test_a_schedule_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="unknown schedule 'cosin'"):
        optimizer.learning_rate_schedule(1.0, steps=3, schedule="cosin")
    with pytest.raises(ValueError, match="warmup of 5 steps in a run of 3"):
        optimizer.learning_rate_schedule(1.0, steps=3, warmup=5)


def params():
    return {
        "embed": jnp.ones((5, 4)),
        "layers": {"wq": jnp.ones((2, 4, 4)), "attention_norm": jnp.ones((2, 4))},
        "final_norm": {"scale": jnp.ones(4)},
        "head": {"kernel": jnp.ones((4, 1)), "bias": jnp.ones((1,))},
    }


def test_only_matrices_decay_not_even_stacked_norms():
    # With a gradient of 0, AdamW's update is -lr * decay * param: 1 - 0.1 * 0.5 = 0.95.
    adamw = optimizer.adamw(0.1, steps=10, weight_decay=0.5)
    zeros = jax.tree.map(jnp.zeros_like, params())
    updates, _ = adamw.update(zeros, adamw.init(params()), params())
    moved = jax.tree.map(lambda u: bool(np.all(u == np.float32(-0.05))), updates)
    still = jax.tree.map(lambda u: bool(np.all(u == 0)), updates)
    assert moved["embed"] and moved["layers"]["wq"] and moved["head"]["kernel"]
    assert still["layers"]["attention_norm"] and still["final_norm"]["scale"]
    assert still["head"]["bias"]


def test_clipping_is_by_the_global_norm():
    # Gradients 3 and 4 have norm 5; clipped to 1 they are 0.6 and 0.8, which eps = 1
    # makes visible: the first update of Adam is -lr * g / (|g| + eps).
    adamw = optimizer.adamw(1.0, steps=10, clip_norm=1.0, eps=1.0)
    grads = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    updates, _ = adamw.update(grads, adamw.init(grads), grads)
    np.testing.assert_allclose(updates["a"], [-0.6 / 1.6], rtol=1e-5)
    np.testing.assert_allclose(updates["b"], [-0.8 / 1.8], rtol=1e-5)
    free = optimizer.adamw(1.0, steps=10, clip_norm=None, eps=1.0)
    updates, _ = free.update(grads, free.init(grads), grads)
    np.testing.assert_allclose(updates["a"], [-3 / 4], rtol=1e-5)


def test_tensorflows_adam_has_its_epsilon_beside_the_bare_moment():
    # m = 0.1 g, v = 0.001 g^2; sqrt(0.001) / 0.1 * m / (sqrt(v) + eps)
    # with g = 0.01 and eps = 1e-3: 0.01 * s / (0.01 * s + 1e-3), s = sqrt(0.001)
    s, grads = np.sqrt(0.001), {"a": jnp.array([0.01])}
    adam = optimizer.scale_by_tensorflow_adam
    adamw = optimizer.adamw(1.0, steps=9, clip_norm=None, eps=1e-3, adam=adam)
    state = adamw.init(grads)
    updates, state = adamw.update(grads, state, grads)
    np.testing.assert_allclose(updates["a"], [-0.01 * s / (0.01 * s + 1e-3)], rtol=1e-5)
    # second: m = 0.19 g, v = 0.001999 g^2, corrected by 1 - 0.9^2 and 1 - 0.999^2
    updates, _ = adamw.update(grads, state, grads)
    s = np.sqrt(0.001999)
    found = s / 0.19 * 0.19 * 0.01 / (s * 0.01 + 1e-3)
    np.testing.assert_allclose(updates["a"], [-found], rtol=1e-4)


def test_each_role_has_its_optimizer_and_one_that_waits_keeps_its_state():
    grads = {"policy": jnp.array([3.0]), "value": jnp.array([0.5])}
    of = {"steps": 9, "clip_norm": 1.0, "eps": 1.0}
    fast, slow = optimizer.adamw(1.0, **of), optimizer.adamw(0.1, **of)
    roles = {"policy": fast, "value": slow}
    both = optimizer.partition_by_role(roles)
    waiting = optimizer.partition_by_role(roles | {"policy": optimizer.freeze(fast)})
    state = both.init(grads)
    updates, after = waiting.update(grads, state, grads)
    # clipped each by itself: 3 becomes 1, and 0.5 stays, whatever the other's size
    np.testing.assert_allclose(updates["value"], [-0.1 * 0.5 / 1.5], rtol=1e-5)
    assert updates["policy"] == 0.0
    # the states are of one form, and the policy's is as it was: its first update is
    # still to come, where the value's is the second
    updates, _ = both.update(grads, after, grads)
    np.testing.assert_allclose(updates["policy"], [-1.0 / 2.0], rtol=1e-5)


def test_schedules_stand_where_they_are_told():
    """Linear over 16 updates from the 4th on: after 12 a quarter of the rate is left.

    Moments and their counts stay: the update's size is that of constant gradients.
    """
    adam = optimizer.adamw(1.0, steps=16, schedule="linear", start=4)
    both = optimizer.partition_by_role({"policy": adam})
    grads = {"policy": jnp.array([0.1])}
    state = both.init(grads)
    _, state = both.update(grads, state, grads)
    updates, _ = both.update(grads, optimizer.set_schedule_count(state, 4 + 12), grads)
    np.testing.assert_allclose(updates["policy"], [-0.25], rtol=1e-4)
    updates, _ = both.update(grads, optimizer.set_schedule_count(state, 3), grads)
    np.testing.assert_allclose(updates["policy"], [-1.0], rtol=1e-4)
