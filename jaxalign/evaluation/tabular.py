"""Tabular contextual bandits: few prompts and answers, all expectations exact.

Alignment in closed form: nothing is sampled, and the optimal policy is known. A policy
is a table of logits [P A], over the same A answers to each of P prompts, up to a
constant per prompt. `tabular_losses` has the expectations of losses.

All functions are pure, keep the dtype of their arrays, and work under `jit`, `vmap` and
`grad`:

>>> bandit = random_bandit(jax.random.key(0), prompts=2, answers=3)
>>> reward = lambda b: expected_reward(bandit, optimal_policy(bandit, beta=b))
>>> bool((jnp.diff(jax.vmap(reward)(jnp.array([0.1, 1.0, 10.0]))) < 0).all())
True
"""

import dataclasses

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Float, Key, Scalar, typed


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bandit:
    """A tabular contextual bandit: prompts are contexts, answers are actions.

    Attributes:
      reward: true reward of each answer.
      reference: logits of the reference policy.
      prompts: probability of each prompt; they sum to 1.
    """

    reward: Float[Array, "P A"]
    reference: Float[Array, "P A"]
    prompts: Float[Array, "P"]


def random_bandit(key: Key, *, prompts: int, answers: int) -> Bandit:
    """A random bandit: standard normal rewards, reference logits and prompt logits.

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
    """log pi(a | x) of a table of logits.

    >>> bool(jnp.allclose(log_policy(jnp.zeros((1, 4))), -jnp.log(4.0)))
    True
    """
    return jax.nn.log_softmax(logits, axis=1)


@typed
def expectation(
    bandit: Bandit, logits: Float[Array, "P A"], values: Float[Array, "P A"]
) -> Float[Array, ""]:
    """The expected value of an answer, over prompts and the policy's answers.

    E = sum over x, a of p(x) * pi(a | x) * values(x, a)

    >>> bandit = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> bool(jnp.isclose(expectation(bandit, jnp.zeros((2, 3)), jnp.ones((2, 3))), 1.0))
    True
    """
    return jnp.sum(bandit.prompts[:, None] * jnp.exp(log_policy(logits)) * values)


@typed
def expected_reward(bandit: Bandit, logits: Float[Array, "P A"]) -> Float[Array, ""]:
    """The expected reward E[r] of a policy.

    >>> bandit = Bandit(jnp.array([[0.0, 2.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> float(expected_reward(bandit, bandit.reference))
    1.0
    """
    return expectation(bandit, logits, bandit.reward)


@typed
def kl(bandit: Bandit, logits: Float[Array, "P A"]) -> Float[Array, ""]:
    """KL(policy || reference) in nats, averaged over prompts; 0 at the reference.

    KL = E[log pi(a | x) - log pi_ref(a | x)]

    >>> bandit = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> float(kl(bandit, bandit.reference))
    0.0
    """
    log_ratio = log_policy(logits) - log_policy(bandit.reference)
    return expectation(bandit, logits, log_ratio)


@typed
def objective(
    bandit: Bandit, logits: Float[Array, "P A"], *, beta: Scalar
) -> Float[Array, ""]:
    """The KL-regularized objective E[r] - beta * KL(policy || reference).

    PPO ascends it, and DPO solves for its optimum.

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 3.

    >>> bandit = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> at = lambda logits: objective(bandit, logits, beta=0.5)
    >>> bool(at(optimal_policy(bandit, beta=0.5)) > at(bandit.reference))
    True
    """
    return expected_reward(bandit, logits) - beta * kl(bandit, logits)


@typed
def optimal_policy(bandit: Bandit, *, beta: Scalar) -> Float[Array, "P A"]:
    """The policy that maximizes `objective`, as log-probs.

    pi*(a | x) = pi_ref(a | x) * exp(r(x, a) / beta) / Z(x)

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 4.

    >>> bandit = Bandit(jnp.array([[0.0, 1.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> bool(jnp.allclose(jnp.diff(optimal_policy(bandit, beta=0.5)), 2.0))
    True
    """
    return log_policy(bandit.reference + bandit.reward / beta)


@typed
def implicit_reward(
    bandit: Bandit, logits: Float[Array, "P A"], *, beta: Scalar
) -> Float[Array, "P A"]:
    """The reward of which a policy is the optimum, up to a constant per prompt.

    r(x, a) = beta * (log pi(a | x) - log pi_ref(a | x))

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 5 and section 5.1.

    >>> bandit = Bandit(jnp.array([[0.0, 1.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> implied = implicit_reward(bandit, optimal_policy(bandit, beta=0.5), beta=0.5)
    >>> bool(jnp.allclose(implied[:, 1] - implied[:, 0], 1.0))
    True
    """
    return beta * (log_policy(logits) - log_policy(bandit.reference))


@typed
def preference_probability(bandit: Bandit) -> Float[Array, "P A A"]:
    """The probability that a is preferred to b, at [x a b], by Bradley-Terry.

    P(a preferred to b) = sigmoid(r(x, a) - r(x, b))

    Reference: Bradley and Terry 1952; Rafailov et al. 2023, arXiv:2305.18290, eq. 1.

    >>> bandit = Bandit(jnp.array([[0.0, 0.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> preference_probability(bandit).tolist()
    [[[0.5, 0.5], [0.5, 0.5]]]
    """
    return jax.nn.sigmoid(bandit.reward[:, :, None] - bandit.reward[:, None, :])


@typed
def flip_labels(
    preference: Float[Array, "P A A"], *, rate: Scalar
) -> Float[Array, "P A A"]:
    """Preference probabilities after random label flips at a rate in [0, 1].

    P' = (1 - rate) * P + rate * (1 - P)

    >>> flip_labels(jnp.ones((1, 1, 1)), rate=0.25).tolist()
    [[[0.75]]]
    """
    return (1.0 - rate) * preference + rate * (1.0 - preference)


@typed
def policy_gradient(bandit: Bandit, logits: Float[Array, "P A"]) -> Float[Array, "P A"]:
    """The gradient of `expected_reward` by the logits, which estimators estimate.

    d E[r] / d logits(x, a) = p(x) * pi(a | x) * (r(x, a) - E[r | x])

    Reference: Williams 1992; Sutton and Barto 2018, section 13.3; here of a softmax.

    >>> bandit = Bandit(jnp.array([[0.0, 2.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> policy_gradient(bandit, bandit.reference).tolist()
    [[-0.5, 0.5]]
    """
    policy = jnp.exp(log_policy(logits))
    value = jnp.sum(policy * bandit.reward, axis=1, keepdims=True)
    return bandit.prompts[:, None] * policy * (bandit.reward - value)


@typed
def win_rate(
    bandit: Bandit, logits: Float[Array, "P A"], other: Float[Array, "P A"]
) -> Float[Array, ""]:
    """The probability that the policy's answer is preferred to another policy's.

    win rate = E[P(a preferred to b)],   a of the policy, b of the other

    >>> bandit = random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> bool(jnp.isclose(win_rate(bandit, bandit.reference, bandit.reference), 0.5))
    True
    """
    theirs = jnp.exp(log_policy(other))
    wins = jnp.einsum("pab,pb->pa", preference_probability(bandit), theirs)
    return expectation(bandit, logits, wins)
