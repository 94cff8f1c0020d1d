"""Losses and estimators give the same numbers eagerly and under jit."""

import chex
import jax.numpy as jnp
import numpy as np
from absl.testing import parameterized

from jaxalign import estimators, losses

LOGPS = np.linspace(-3.0, -1.0, 12, dtype=np.float32).reshape(4, 3)
MASK = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], bool)
PAIR = tuple(LOGPS)  # chosen, rejected, ref_chosen, ref_rejected of three pairs


class EagerEqualsJit(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.named_parameters(
        ("dpo", lambda *pair: losses.dpo(*pair, beta=0.1), PAIR),
        ("ipo", lambda *pair: losses.ipo(*pair, tau=0.1), PAIR),
        ("simpo", lambda *pair: losses.simpo(*pair, beta=2.0, gamma=1.0), PAIR[:2]),
        ("bradley_terry", losses.bradley_terry, PAIR[:2]),
        ("nll", losses.nll, (LOGPS,)),
        (
            "gae",
            lambda *x: estimators.gae(*x, gamma=1.0, lam=0.95),
            (LOGPS, LOGPS / 2, MASK),
        ),
    )
    def test_values(self, function, arrays):
        expected = function(*map(jnp.asarray, arrays))
        found = self.variant(function)(*map(jnp.asarray, arrays))
        # XLA fuses: the same float32 operations, rounded in another order
        chex.assert_trees_all_close(found, expected, rtol=1e-5)
