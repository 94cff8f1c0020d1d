"""An exact world: few prompts, few answers, and every expectation a finite sum.

Alignment in closed form: nothing is sampled, and the optimum is known. A policy is its
logits [P A], over the same A answers to each of P prompts; what is constant per prompt
does not matter. `exact_losses` says what a loss does in such a world.

All of it is pure, in the dtype it is given, and may be jitted, mapped, differentiated:

>>> world = random_bandit(jax.random.key(0), prompts=2, answers=3)
>>> rewards = jax.vmap(lambda b: expected_reward(world, optimal_policy(world, beta=b)))
>>> bool((jnp.diff(rewards(jnp.array([0.1, 1.0, 10.0]))) < 0).all())
True
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Key, Scalar, typed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bandit:
    """All there is to know.

    Attributes:
      reward: the true reward of each answer.
      reference: the logits of the reference policy.
      prompts: how probable each prompt is; they sum to 1.
    """

    reward: Float[Array, "P A"]
    reference: Float[Array, "P A"]
    prompts: Float[Array, "P"]


def random_bandit(key: Key, *, prompts: int, answers: int) -> Bandit:
    """A world whose rewards, logits and log-odds of prompts are standard normal.

    >>> random_bandit(jax.random.key(0), prompts=2, answers=3).reward.shape
    (2, 3)
    """
    reward_key, reference_key, prompts_key = jax.random.split(key, 3)
    return Bandit(
        reward=jax.random.normal(reward_key, (prompts, answers)),
        reference=jax.random.normal(reference_key, (prompts, answers)),
        prompts=jax.nn.softmax(jax.random.normal(prompts_key, (prompts,))),
    )


@typed
def log_policy(logits: Float[Array, "P A"]) -> Float[Array, "P A"]:
    """log pi(a | x), of the logits.

    >>> bool(jnp.allclose(log_policy(jnp.zeros((1, 4))), -jnp.log(4.0)))
    True
    """
    return jax.nn.log_softmax(logits, axis=1)


@typed
def expectation(
    world: Bandit, logits: Float[Array, "P A"], values: Float[Array, "P A"]
) -> Float[Array, ""]:
    """The mean of values of answers, over prompts and the policy's answers.

    E = sum over x, a of p(x) * pi(a | x) * values(x, a)

    >>> world = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> bool(jnp.isclose(expectation(world, jnp.zeros((2, 3)), jnp.ones((2, 3))), 1.0))
    True
    """
    return jnp.sum(world.prompts[:, None] * jnp.exp(log_policy(logits)) * values)


@typed
def expected_reward(world: Bandit, logits: Float[Array, "P A"]) -> Float[Array, ""]:
    """E[r], what alignment is after.

    >>> world = Bandit(jnp.array([[0.0, 2.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> float(expected_reward(world, world.reference))
    1.0
    """
    return expectation(world, logits, world.reward)


@typed
def kl(world: Bandit, logits: Float[Array, "P A"]) -> Float[Array, ""]:
    """KL(policy || reference) in nats, what alignment costs: 0 at the reference.

    KL = E[log pi(a | x) - log pi_ref(a | x)]

    >>> world = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> float(kl(world, world.reference))
    0.0
    """
    log_ratio = log_policy(logits) - log_policy(world.reference)
    return expectation(world, logits, log_ratio)


@typed
def objective(
    world: Bandit, logits: Float[Array, "P A"], *, beta: Scalar
) -> Float[Array, ""]:
    """E[r] - beta * KL(policy || reference), which PPO climbs and DPO solves.

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 3.

    >>> world = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> at = lambda logits: objective(world, logits, beta=0.5)
    >>> bool(at(optimal_policy(world, beta=0.5)) > at(world.reference))
    True
    """
    return expected_reward(world, logits) - beta * kl(world, logits)


@typed
def optimal_policy(world: Bandit, *, beta: Scalar) -> Float[Array, "P A"]:
    """The one policy that maximises `objective`, as log-probs.

    pi*(a | x) = pi_ref(a | x) * exp(r(x, a) / beta) / Z(x)

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 4.

    >>> world = Bandit(jnp.array([[0.0, 1.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> bool(jnp.allclose(jnp.diff(optimal_policy(world, beta=0.5)), 2.0))
    True
    """
    return log_policy(world.reference + world.reward / beta)


@typed
def implicit_reward(
    world: Bandit, logits: Float[Array, "P A"], *, beta: Scalar
) -> Float[Array, "P A"]:
    """The reward whose optimum a policy is, but for a constant per prompt.

    r(x, a) = beta * (log pi(a | x) - log pi_ref(a | x))

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 5 and section 5.1.

    >>> world = Bandit(jnp.array([[0.0, 1.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> found = implicit_reward(world, optimal_policy(world, beta=0.5), beta=0.5)
    >>> bool(jnp.allclose(found[:, 1] - found[:, 0], 1.0))
    True
    """
    return beta * (log_policy(logits) - log_policy(world.reference))


@typed
def preference_probability(world: Bandit) -> Float[Array, "P A A"]:
    """How probably people prefer a to b, at [x a b]: Bradley-Terry on the reward.

    P(a preferred to b) = sigmoid(r(x, a) - r(x, b))

    Reference: Bradley and Terry 1952; Rafailov et al. 2023, arXiv:2305.18290, eq. 1.

    >>> world = Bandit(jnp.array([[0.0, 0.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> preference_probability(world).tolist()
    [[[0.5, 0.5], [0.5, 0.5]]]
    """
    return jax.nn.sigmoid(world.reward[:, :, None] - world.reward[:, None, :])


@typed
def flip_labels(
    preference: Float[Array, "P A A"], *, rate: Scalar
) -> Float[Array, "P A A"]:
    """Preferences as labelled by people who err, at this rate, whatever the pair.

    P' = (1 - rate) * P + rate * (1 - P)

    >>> flip_labels(jnp.ones((1, 1, 1)), rate=0.25).tolist()
    [[[0.75]]]
    """
    return (1.0 - rate) * preference + rate * (1.0 - preference)


@typed
def policy_gradient(world: Bandit, logits: Float[Array, "P A"]) -> Float[Array, "P A"]:
    """The gradient of `expected_reward` by the logits, which estimators are after.

    d E[r] / d logits(x, a) = p(x) * pi(a | x) * (r(x, a) - E[r | x])

    Reference: Williams 1992; Sutton and Barto 2018, section 13.3; here of a softmax.

    >>> world = Bandit(jnp.array([[0.0, 2.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> policy_gradient(world, world.reference).tolist()
    [[-0.5, 0.5]]
    """
    policy = jnp.exp(log_policy(logits))
    value = jnp.sum(policy * world.reward, axis=1, keepdims=True)
    return world.prompts[:, None] * policy * (world.reward - value)


@typed
def win_rate(
    world: Bandit, logits: Float[Array, "P A"], other: Float[Array, "P A"]
) -> Float[Array, ""]:
    """How often people prefer the policy's answer to another policy's.

    win rate = E[P(a preferred to b)],   a of the policy, b of the other

    >>> world = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> bool(jnp.isclose(win_rate(world, world.reference, world.reference), 0.5))
    True
    """
    theirs = jnp.exp(log_policy(other))
    wins = jnp.einsum("pab,pb->pa", preference_probability(world), theirs)
    return expectation(world, logits, wins)
