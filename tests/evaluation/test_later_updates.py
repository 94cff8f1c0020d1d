"""What each method's gradient is in a later update, over every group it could draw.

A world of one prompt, the token 0, whose answers are all strings of T tokens; a policy
is a table of logits, softmax(table[a])[b] the probability of b after a. The policy NEW
is a step away from OLD, which sampled, with nothing clipped. Derivations are beside the
tests; everything is in float64, through the objectives that train.
"""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import grpo
from jaxalign.batches import GroupBatch, RolloutBatch, from_lengths
from jaxalign.pipeline import group_batch
from jaxalign.training import group_methods, objectives
from jaxalign.types import LanguageModel, ScalarModel

V, N = 3, 2
METHODS = list(group_methods.METHODS)


def unused(*_):
    raise NotImplementedError


TABLE = LanguageModel(
    config=SimpleNamespace(vocab_size=V, logit_cap=None),
    init=unused,
    specs=None,
    hidden=lambda table, tokens, positions, segments: table[tokens],
    unembed=lambda table: jnp.eye(V),
    init_cache=unused,
    extend=unused,
)
NO_VALUE = ScalarModel(
    config=TABLE.config,
    init=unused,
    specs=None,
    scores=lambda params, tokens, positions, segments, at=None: 0.0 * tokens,
    from_trunk=unused,
)


@pytest.fixture(autouse=True)
def float64():
    """Derivations hold to rounding, so let rounding be small."""
    with jax.enable_x64(True):
        yield


class World:
    """All answers of so many tokens, their rewards, and three policies."""

    def __init__(self, length, step):
        rng = np.random.default_rng(length)
        answers = list(itertools.product(range(V), repeat=length))
        self.tokens = np.array([(0, *answer) for answer in answers], np.int32)
        self.reward = rng.normal(size=len(answers))
        self.reference, self.old, way = rng.normal(size=(3, V, V))
        moved = np.abs(self.logps(self.old + 1e-3 * way) - self.logps(self.old))
        self.new = self.old + way * 1e-3 * step / moved.sum(axis=1).max()
        self.length = length

    def logps(self, table):
        """Log-prob of each token of each answer [A T]."""
        logp = jax.nn.log_softmax(table)
        return logp[self.tokens[:, :-1], self.tokens[:, 1:]]

    def batches(self, make):
        """The answers of each group [G N], its probability, and its stacked batch."""
        pairs = np.array(list(itertools.product(range(len(self.tokens)), repeat=N)))
        whole = np.exp(self.logps(self.old)).prod(axis=1)
        batch = jax.tree.map(lambda *x: jnp.stack(x), *[make(pair) for pair in pairs])
        return pairs, whole[pairs].prod(axis=1), batch

    def row(self, x):
        """Of answers' tokens [B T], as batches have it [B 1+T]."""
        return jnp.pad(x, ((0, 0), (1, 0)))

    def sequences(self, pair):
        full = np.full(N, 1 + self.length)
        return from_lengths(self.tokens[pair], full, np.ones(N, np.int32))

    def kl(self, table):
        """KL(policy || reference), of whole answers."""
        logp, ref = self.logps(table).sum(1), self.logps(self.reference).sum(1)
        return jnp.sum(jnp.exp(logp) * (logp - ref))

    def k1(self):
        """Log-ratio of the policy that sampled to the reference, per token [A T]."""
        return np.asarray(self.logps(self.old) - self.logps(self.reference))

    def climb(self, weight):
        """The gradient of the expectation of fixed weights of answers, at NEW."""
        mean = lambda table: jnp.sum(jnp.exp(self.logps(table).sum(1)) * weight)
        return jax.grad(mean)(self.new)

    def climb_by_token(self, weight):
        """The same, prefixes left as OLD sampled them; weights [A T], over T."""
        old = self.logps(self.old)
        whole = jnp.exp(old.sum(axis=1))[:, None]

        def mean(table):
            ratio = jnp.exp(self.logps(table) - old)
            return jnp.sum(whole * ratio * weight) / self.length

        return jax.grad(mean)(self.new)


def step_of(method):
    """The sum of log-ratios of an answer that no clip range is left with."""
    return 0.5 * min(method.clip_low, method.clip_high, 0.5)


def ascent(world, method, beta=None):
    """The expected gradient of a method's objective at NEW, negated, as it trains."""
    config = grpo.Config(prompts=1, samples=N, beta=beta)

    def make(pair):
        sequences = world.sequences(pair)
        logp, ref = (
            world.row(world.logps(t)[pair]) for t in (world.old, world.reference)
        )
        reward = jnp.asarray(world.reward[pair])
        advantage = group_batch.group_advantages(
            method, sequences, reward, logp, ref, beta=kl_coefficient, samples=N
        )
        return GroupBatch(sequences, logp, ref, advantage)

    kl_coefficient = grpo.kl_coefficient(config, method)
    in_loss = kl_coefficient if method.kl == "loss" else 0.0
    objective = objectives.group(
        TABLE, method.loss, method.mean(world.length), kl_coef=in_loss
    )
    return expected(world, objective, make)


def expected(world, objective, make, of=lambda table: table):
    """The mean over all groups of -gradient(sum) / weight by the table."""
    _, share, batch = world.batches(make)

    def gradient(group):
        total, pull, (weight, _) = jax.vjp(
            lambda table: objective(of(table), group), world.new, has_aux=True
        )
        return -pull(jnp.ones_like(total))[0] / weight

    return jnp.einsum("g,gab->ab", share, jax.jit(jax.vmap(gradient))(batch))


def weights(world, method):
    """The mean over the other answer of what an answer's advantage is [A]."""
    reward = jnp.asarray(world.reward)
    beta = method.beta
    if method.kl != "loss":
        reward = reward - beta * world.k1().sum(axis=1)
    both = jnp.stack(jnp.broadcast_arrays(reward[:, None], reward[None, :]), axis=-1)
    if method.kl == "reward_to_go":  # of two numbers, mean 0, deviation half their gap
        half = (both[..., 0] - both[..., 1]) / 2
        advantage = half / jnp.sqrt(half**2 + 1e-8)
    else:
        flat = both.reshape(-1, 2)
        advantage = method.advantage(flat)[:, 0].reshape(both.shape[:2])
    return advantage @ jnp.exp(world.logps(world.old).sum(axis=1))


@pytest.mark.parametrize("name", METHODS)
def test_answers_of_one_token(name):
    """E over OLD of ratio * A * grad logp = grad E over NEW of A, A held fixed.

    A is fixed, so its mean over the other answer is, and that of k1 in the reward is of
    OLD; the KL in the loss is that of NEW. So in the first update, so in later ones.
    """
    method = group_methods.METHODS[name]
    world = World(1, step_of(method))
    true = world.climb(weights(world, method))
    if method.kl == "loss":
        true -= method.beta * jax.grad(world.kl)(world.new)
    moved = np.abs(true - first_update(method))
    assert moved.max() > 1e-7  # it is another update
    np.testing.assert_allclose(ascent(world, method), true, atol=1e-12)


def first_update(method):
    """What the gradient was at OLD."""
    there = World(1, 0.0)
    true = there.climb(weights(there, method))
    return true - (method.kl == "loss") * method.beta * jax.grad(there.kl)(there.new)


def test_rloo_of_longer_answers():
    """The whole answer's ratio is exact: the gradient of E[r] at NEW, k1 of OLD."""
    method = group_methods.METHODS["rloo"]
    world = World(2, step_of(method))
    reward = world.reward - method.beta * world.k1().sum(axis=1)
    found = ascent(world, method)
    np.testing.assert_allclose(found, world.climb(reward), atol=1e-12)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "cispo"])
def test_ratios_of_tokens_leave_prefixes_as_they_were_sampled(name):
    """Their documented bias, and all of it: by T = 2, of the KL in the loss, too."""
    method = group_methods.METHODS[name]
    world = World(2, step_of(method))
    weight = weights(world, method)[:, None]
    d = world.logps(world.new) - world.logps(world.reference)
    true = world.climb_by_token(weight - method.beta * d)  # ratio * d * grad logp
    np.testing.assert_allclose(ascent(world, method), true, atol=1e-12)
    exact = world.climb(weight[:, 0]) / 2
    assert np.abs(world.climb_by_token(weight) - exact).max() > 1e-4


def test_gspo_of_longer_answers():
    """s = sqrt(ratio of the answer): s * A * mean over tokens of grad logp."""
    method = group_methods.METHODS["gspo"]
    world = World(2, step_of(method))
    old = world.logps(world.old)

    def mean(table):
        s = jnp.exp((world.logps(table) - old).mean(axis=1))
        return jnp.sum(jnp.exp(old.sum(axis=1)) * s * weights(world, method))

    true = jax.grad(mean)(world.new)
    np.testing.assert_allclose(ascent(world, method), true, atol=1e-12)


def test_reinforce_plus_plus_charges_the_kl_to_go():
    """Whitened over both answers' tokens; by hand, for each of all pairs."""
    method = group_methods.METHODS["reinforce_plus_plus"]
    world = World(2, step_of(method))
    beta, k1 = 0.3, world.k1()
    to_go = world.reward[:, None] - beta * k1[:, ::-1].cumsum(axis=1)[:, ::-1]
    old = np.asarray(world.logps(world.old))
    whole = np.exp(old.sum(axis=1))
    weight = np.zeros_like(to_go)
    for i, j in itertools.product(range(len(whole)), repeat=2):
        both = np.stack([to_go[i], to_go[j]])
        white = (both - both.mean()) / np.sqrt(both.var() + 1e-8)
        weight[i] += whole[j] * white[0]
    np.testing.assert_allclose(
        ascent(world, method, beta=beta), world.climb_by_token(weight), atol=1e-12
    )


@pytest.mark.parametrize("length", [1, 2])
def test_ppo(length):
    """Advantages of tokens are fixed: exact for one token, else prefixes are OLD's."""
    world = World(length, 0.05)
    advantage = np.random.default_rng(9).normal(size=(len(world.reward), length))

    def make(pair):
        zero = jnp.zeros((N, 1 + length))
        logp = world.row(world.logps(world.old)[pair])
        weight = world.row(jnp.asarray(advantage[pair]))
        return RolloutBatch(world.sequences(pair), logp, zero, weight, zero)

    objective = objectives.ppo(TABLE, NO_VALUE, vf_coef=1.0)
    both = lambda table: {"policy": table, "value": None}
    found = expected(world, objective, make, of=both)
    true = world.climb_by_token(jnp.asarray(advantage))
    np.testing.assert_allclose(found, true, atol=1e-12)
    if length == 1:
        exact = world.climb(jnp.asarray(advantage[:, 0]))
        np.testing.assert_allclose(found, exact, atol=1e-12)


def test_beyond_the_clip_range_it_is_the_clipped_objective():
    """A bias that is meant: tokens whose ratio went far enough get no gradient."""
    method = group_methods.METHODS["dr_grpo"]
    world = World(1, 1.0)
    ratio = np.exp(world.logps(world.new) - world.logps(world.old))[:, 0]
    assert (ratio < 0.8).any() and (ratio > 1.2).any()
    found = ascent(world, method)
    old = world.logps(world.old)[:, 0]

    def mean(table):
        ratio = jnp.exp(world.logps(table)[:, 0] - old)
        gap = 0.5 * (world.reward[:, None] - world.reward[None, :])
        clipped = jnp.clip(ratio, 0.8, 1.2)[:, None]
        kept = jnp.minimum(ratio[:, None] * gap, clipped * gap)
        return jnp.sum(jnp.exp(old[:, None] + old[None, :]) * kept)

    np.testing.assert_allclose(found, jax.grad(mean)(world.new), atol=1e-12)
