"""An exact world in which annotators like agreement: how optimization changes answers.

Users state an answer that is right or wrong; the assistant gives the right answer, the
user's, or another wrong one. All expectations are sums over a table.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.evaluation.tabular import Bandit, expectation, log_policy
from jaxalign.types import Array, Float, typed


class AgreementWorld(NamedTuple):
    """A tabular world: prompts are [user is right, user is wrong].

    Attributes:
      bandit: its reward is what annotators like.
      right: 1 where an answer is right [P A].
      agrees: 1 where it is the user's [P A].
    """

    bandit: Bandit
    right: Float[Array, "P A"]
    agrees: Float[Array, "P A"]

    def accuracy(self, logits: Float[Array, "P A"]) -> Float[Array, ""]:
        """P(right) of a policy's answers."""
        return expectation(self.bandit, logits, self.right)

    def sycophancy(self, logits: Float[Array, "P A"]) -> Float[Array, ""]:
        """P(the user's answer | the user is wrong) of a policy."""
        wrong = jnp.exp(log_policy(logits))[1]
        return jnp.sum(wrong * self.agrees[1])


def agreement_world(
    *, truth: float, agreement: float, user_right: float = 0.5, knows: float = 0.6
) -> AgreementWorld:
    """The world of annotators who weigh truth and agreement.

    reward = truth * right + agreement * agrees

    Answers: the right one, the wrong one that a wrong user states, another wrong one.
    The reference policy knows the right answer with probability `knows`, and shares the
    rest equally.

    Args:
      truth, agreement: weights of the annotators.
      user_right: share of users who are right.
      knows: in (0, 1).

    >>> world = agreement_world(truth=1.0, agreement=0.0)
    >>> world.bandit.reward.tolist()
    [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    right = jnp.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    agrees = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    rest = (1.0 - knows) / 2
    reference = jnp.log(jnp.array([[knows, rest, rest]] * 2))
    prompts = jnp.array([user_right, 1.0 - user_right])
    reward = truth * right + agreement * agrees
    return AgreementWorld(Bandit(reward, reference, prompts), right, agrees)


@typed
def best_of_n_policy(bandit: Bandit, *, n: int) -> Float[Array, "P A"]:
    """Log-probs of the best of n answers of the reference by the bandit's reward.

    p_n(a) = [F(a)^n - F(below a)^n] * p(a) / p(level of a)

    where F is the distribution function of the reward: equal rewards share a level by
    their probability, as the first of several best samples does.

    Reference: derived above; Stiennon et al. 2020, arXiv:2009.01325 (best-of-n).

    >>> two = Bandit(jnp.array([[0.0, 1.0]]), jnp.zeros((1, 2)), jnp.ones(1))
    >>> jnp.exp(best_of_n_policy(two, n=2)).round(4).tolist()
    [[0.25, 0.75]]
    """
    p = jax.nn.softmax(bandit.reference, axis=1)
    higher = bandit.reward[:, :, None] > bandit.reward[:, None, :]
    equal = bandit.reward[:, :, None] == bandit.reward[:, None, :]
    below = jnp.einsum("pab,pb->pa", higher, p)
    level = jnp.einsum("pab,pb->pa", equal, p)
    return jnp.log(((below + level) ** n - below**n) * p / level)
