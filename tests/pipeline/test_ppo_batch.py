"""From samples to what PPO trains on, by hand: endings, normalisation, whitening."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import ppo
from jaxalign import estimators, sampling
from jaxalign.pipeline import online, ppo_batch, ppo_setup, rollouts
from jaxalign.pipeline.prompts import TokenizedPrompts
from jaxalign.training import optimizer
from jaxalign.training.kl_controller import next_kl_coefficient
from jaxalign.types import ScalarModel

END, OTHER_END = 2, 5
KNOBS = {"beta": jnp.float32(0.0), "gamma": 0.5, "lam": 0.5}
# Each with a prompt of two tokens: it ends, ends with another stop token, is cut, and
# ends at once.
ANSWERS = np.array([[4, END, 0], [4, OTHER_END, 0], [4, 4, 4], [END, 0, 0]], np.int32)
COUNTS = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]], bool)


@pytest.fixture
def half():
    """A value model that says 0.5 at every token."""
    scores = lambda params, tokens, *_, at=None: jnp.full(
        tokens.shape if at is None else at.shape, 0.5
    )
    return ScalarModel(None, None, None, scores, None)


@pytest.fixture
def drawn(monkeypatch):
    """Those answers, as `rollouts.sample` gives them."""
    logp = -np.arange(1.0, 13.0, dtype=np.float32).reshape(4, 3) * COUNTS
    samples = sampling.Samples(*map(jnp.asarray, (ANSWERS, COUNTS, logp)))
    monkeypatch.setattr(sampling, "generate", lambda *args, **kwargs: samples)
    policy = SimpleNamespace(model=None, stop_tokens=(END, OTHER_END))
    prompts = np.tile(np.array([[7, 8]], np.int32), (4, 1))
    return rollouts.sample(
        policy,
        None,
        prompts,
        np.full(4, 2, np.int32),
        None,
        sampling.SamplingParams(max_new_tokens=3),
    )


def test_the_four_endings_by_hand(drawn, half):
    sequences, ended, sampled = drawn
    assert ended.tolist() == [True, True, False, True]
    # the sampler's log-probs stand at their tokens
    np.testing.assert_array_equal(sampled[0], [0, 0, -1, -2, 0])
    score = online.penalize_missing_eos(online.OnlineConfig(), jnp.full(4, 0.7), ended)
    np.testing.assert_allclose(score, [0.7, 0.7, -0.3, 0.7], rtol=1e-6)
    zero = jnp.zeros_like(sampled)
    told = (half, None, sequences, zero, zero, score, ended)
    batch, _ = ppo_batch.rollout_batch(*told, **KNOBS)
    # delta = r + 0.5 * V' - V with V = 0.5 and V' = 0 after the last: 0.2 there, or
    # -0.8 where cut, and -0.25 before; A = delta + 0.25 * A'; returns = A + 0.5
    ends = [0, 0, -0.25 + 0.25 * 0.2 + 0.5, 0.7, 0]
    cut = [0, 0, -0.25 + 0.25 * (-0.25 - 0.25 * 0.8) + 0.5, 0.05, -0.3]
    expected = np.array([ends, ends, cut, [0, 0, 0.7, 0, 0]])
    np.testing.assert_allclose(batch.returns, expected, atol=1e-6)
    # bootstrapped, the cut answer alone is worth 0.5 * 0.5 more at its last token
    more, _ = ppo_batch.rollout_batch(*told, **KNOBS, bootstrap=True)
    expected[2] += np.array([0, 0, 0.25**2, 0.25, 1.0]) * 0.25
    np.testing.assert_allclose(more.returns, expected, atol=1e-6)


def test_a_missing_end_may_set_the_score(drawn):
    config = online.OnlineConfig(missing_eos="assign", missing_eos_penalty=3.0)
    found = online.penalize_missing_eos(config, jnp.full(4, 0.7), drawn[1])
    np.testing.assert_allclose(found, [0.7, 0.7, -3.0, 0.7], rtol=1e-6)


def test_prompts_and_padding_do_not_leak_into_rewards(drawn, half):
    sequences, ended, _ = drawn
    rng = np.random.default_rng(0)
    logp, ref_logp = rng.normal(size=(2, 4, 5)).astype(np.float32)
    knobs = KNOBS | {"beta": jnp.float32(0.3)}
    told = lambda logp: ppo_batch.rollout_batch(
        *(half, None, sequences, logp, ref_logp, jnp.ones(4), ended), **knobs
    )
    plain, numbers = told(logp)
    odd = np.where(sequences.loss_mask, logp, np.float32(np.nan))
    same, same_numbers = told(odd)
    np.testing.assert_array_equal(plain.returns, same.returns)
    np.testing.assert_array_equal(plain.advantage, same.advantage)
    assert jax.tree.map(float, numbers) == jax.tree.map(float, same_numbers)
    mask = sequences.loss_mask
    rewards = lambda logp: estimators.kl_penalized_rewards(
        jnp.ones(4), logp, ref_logp, mask, beta=0.3
    )
    np.testing.assert_array_equal(rewards(logp), rewards(odd))
    np.testing.assert_array_equal(np.asarray(rewards(odd))[~mask], 0.0)
    # and those of the answer do matter
    other, _ = told(logp + 1.0)
    assert not np.allclose(plain.returns, other.returns)


def test_advantages_are_whitened_over_the_batch_and_minibatches_are_its_rows(
    drawn, half
):
    sequences, ended, sampled = drawn
    score = jnp.array([3.0, 1.0, -1.0, 0.5])
    batch, numbers = ppo_batch.rollout_batch(
        half, None, sequences, sampled, sampled, score, ended, **KNOBS
    )
    mask = np.asarray(sequences.loss_mask)
    kept = np.asarray(batch.advantage)[mask]
    np.testing.assert_allclose([kept.mean(), kept.std()], [0.0, 1.0], atol=1e-6)
    before = np.asarray(batch.returns - batch.old_value)[mask]
    np.testing.assert_allclose(numbers["advantage_mean"], before.mean(), rtol=1e-5)
    np.testing.assert_allclose(numbers["advantage_std"], before.std(), rtol=1e-5)
    parts = list(rollouts.minibatches(batch, jax.random.key(0), epochs=2, parts=2))
    assert len(parts) == 4
    first = [np.asarray(part.advantage) for part in parts]
    for epoch in (first[:2], first[2:]):
        rows = np.concatenate(epoch)
        np.testing.assert_array_equal(
            rows[np.lexsort(rows.T)],
            np.asarray(batch.advantage)[np.lexsort(batch.advantage.T)],
        )
    # a minibatch has no statistics of its own
    means = [
        np.asarray(part.advantage)[np.asarray(part.sequences.loss_mask)].mean()
        for part in parts
    ]
    assert max(means) > 0.1


def test_blocks_of_rows_stay_together_in_minibatches():
    """Six rows in three blocks: a minibatch is a block, with its part of any leaf."""
    rows = {"row": jnp.arange(6), "entry": jnp.arange(12)}
    parts = list(
        rollouts.minibatches(rows, jax.random.key(0), epochs=1, parts=3, blocks=3)
    )
    found = sorted((p["row"].tolist(), p["entry"].tolist()) for p in parts)
    expected = [
        ([0, 1], [0, 1, 2, 3]),
        ([2, 3], [4, 5, 6, 7]),
        ([4, 5], [8, 9, 10, 11]),
    ]
    assert found == expected


def test_the_updates_of_an_iteration_are_summarized():
    """The metrics are the last update's, but `finite` is False if any was not."""
    updates = [
        {"loss": jnp.float32(loss), "finite": jnp.bool_(loss != 3.0)}
        for loss in (1.0, 3.0, 2.0)
    ]
    metrics = online.summarize_updates(updates)
    assert metrics["loss"] == 2.0 and metrics["updates"] == 3
    assert not metrics["finite"]
    assert online.summarize_updates(updates[::2])["finite"]


def test_an_iteration_stops_above_a_kl():
    metrics = {"approxkl": jnp.float32(0.2)}
    assert online.exceeds_kl(metrics, 0.15)
    assert not online.exceeds_kl(metrics, 0.25)
    assert not online.exceeds_kl(metrics, None)


def test_orders_differ_between_epochs_and_iterations():
    key = lambda i: jax.random.fold_in(jax.random.key(0), i)
    orders = [
        tuple(map(int, order))
        for i in range(3)
        for order in rollouts.minibatches(jnp.arange(64), key(i), epochs=2, parts=1)
    ]
    assert len(set(orders)) == 6


def test_scores_are_normalised_by_what_they_are_told():
    first, second = jnp.array([1.0, 3.0]), jnp.array([5.0, 7.0])
    normalized = ppo_batch.normalize_scores
    assert normalized(first, "none", None)[0].tolist() == [1.0, 3.0]
    np.testing.assert_allclose(normalized(second, "batch", None)[0], [-1, 1], rtol=1e-6)
    # variance 1 of 1 and 3; then 5 of 1, 3, 5, 7; the mean stays
    found, told = normalized(first, "running", None)
    np.testing.assert_allclose(found, [1.0, 3.0], rtol=1e-6)
    found, told = normalized(second, "running", told)
    np.testing.assert_allclose(found, np.array([5, 7]) / np.sqrt(5), rtol=1e-6)
    assert told == [4.0, 4.0, 20.0]
    # mean 4 and variance 5, which scores do not change
    found, after = normalized(jnp.array([4.0, 9.0]), "reference", told)
    np.testing.assert_allclose(found, [0.0, 5 / np.sqrt(5)], atol=1e-6)
    assert after == told
    found, _ = normalized(jnp.array([4.0, 9.0]), "reference", told, clip=2.0)
    np.testing.assert_allclose(found, [0.0, 2.0], atol=1e-6)
    # equal scores have no scale
    assert normalized(jnp.ones(3), "running", None)[0].tolist() == [1.0] * 3


def test_the_references_moments_are_those_of_its_scores(monkeypatch):
    finished = np.array([True, True, False])
    answers = SimpleNamespace(
        prompts=[None] * 3, texts=[""] * 3, finished=finished, sequences=()
    )
    monkeypatch.setattr(rollouts, "sample_answers", lambda *args, **kwargs: answers)
    reward = jnp.array([1.0, 3.0, 6.0])
    setup = SimpleNamespace(
        policy=None,
        prompts=TokenizedPrompts([], []),
        sampling=sampling.SamplingParams(max_new_tokens=3),
        reward_fn=lambda *_: reward,
        mesh=None,
    )
    # a missing end takes 1: 1, 3, 5
    moments = ppo_setup.reference_moments(ppo.Config(), setup, 3)
    np.testing.assert_allclose(moments, [3.0, 3.0, 8.0], rtol=1e-6)
    reward = jnp.array([1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="3 answers all have the score 1"):
        ppo_setup.reference_moments(ppo.Config(), setup, 3)


def test_the_controllers_of_beta_by_hand():
    # KL 12 is twice the target, cut to 0.2: 1 + 0.2 * 512 / 10,000, or exp(0.1 * 0.2)
    def beta(*, target=6.0, gain=None):
        return next_kl_coefficient(
            *(1.0, jnp.float32(12.0)),
            target=target,
            horizon=10_000,
            gain=gain,
            samples=512,
        )

    np.testing.assert_allclose(beta(), 1.01024, rtol=1e-6)
    np.testing.assert_allclose(beta(gain=0.1), np.exp(0.02), rtol=1e-6)
    assert beta(target=None) == 1.0


@pytest.mark.parametrize("gap, warns", [(0.05, False), (0.2, True)])
def test_a_gap_between_sampler_and_trainer_warns(gap, warns):
    if not warns:
        return online.warn_logprob_mismatch({"logp_gap": gap}, 0.1)
    with pytest.warns(UserWarning, match="more than 0.1 nats"):
        online.warn_logprob_mismatch({"logp_gap": gap}, 0.1)


def both_optimizers(config):
    """PPO's optimizer of policy and value model."""
    return optimizer.partition_by_role(ppo_setup.make_optimizers(config))


def test_both_models_have_their_flags():
    """What the optimizers do first says which rate, schedule and epsilon they have."""
    params = {"policy": jnp.ones(1), "value": jnp.ones(1)}
    grads = {"policy": jnp.full(1, 0.1), "value": jnp.full(1, 0.1)}
    plain = ppo.Config(learning_rate=0.4, eps=0.1)

    def first(**flags):
        adam = both_optimizers(dataclasses.replace(plain, **flags))
        updates, _ = adam.update(grads, adam.init(params), params)
        return [float(x) for x in (updates["policy"][0], updates["value"][0])]

    # g / (|g| + eps) = 1/2 of the rate
    np.testing.assert_allclose(first(), [-0.2, -0.2], rtol=1e-5)
    np.testing.assert_allclose(first(value_learning_rate=0.8), [-0.2, -0.4], rtol=1e-5)
    # two iterations of four updates: the first has an eighth of the rate
    np.testing.assert_allclose(first(warmup=2), [-0.025] * 2, rtol=1e-5)
    # sqrt(0.001) * 0.1 / (sqrt(0.001) * 0.1 + 0.1)
    share = np.sqrt(0.001) / (np.sqrt(0.001) + 1.0)
    np.testing.assert_allclose(first(adam="tensorflow"), [-0.4 * share] * 2, rtol=1e-5)


def test_each_model_is_clipped_by_itself():
    """A value gradient of norm 100 becomes 1; the policy's stays 0.1."""
    params = {"policy": jnp.ones(1), "value": jnp.ones(1)}
    grads = {"policy": jnp.full(1, 0.1), "value": jnp.full(1, 100.0)}
    adam = both_optimizers(ppo.Config(learning_rate=0.4, eps=0.1))
    updates, _ = adam.update(grads, adam.init(params), params)
    # g / (|g| + eps) of the rate
    np.testing.assert_allclose(updates["policy"], [-0.4 * 0.5], rtol=1e-5)
    np.testing.assert_allclose(updates["value"], [-0.4 / 1.1], rtol=1e-5)
