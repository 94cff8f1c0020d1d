"""Best-of-n by a proxy reward, measured by the gold reward."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxalign.types import Array, Float, typed


@typed
def unbiased_best_of_n(
    gold: Float[Array, "*S N"], proxy: Float[Array, "*S N"], *, n: int
) -> Float[Array, "*S"]:
    """The expected gold reward of the best of n by proxy, from N >= n samples.

    sum over i = n..N of C(i - 1, n - 1) / C(N, n) * gold_(i)

    where gold_(i) has the i-th lowest proxy. It is the mean over all n-subsets, of
    which C(i - 1, n - 1) have the i-th as their best. One set of N samples serves every
    n up to N. Ties go to the first sample, as in `argmax`.

    Args:
      gold: the reported reward; pass the proxy for its own curve.
      proxy: the reward that selects the best.
      n: in 1..N.

    Raises:
      ValueError: n is not in 1..N.

    Reference: derived above; Gao et al. 2022, arXiv:2210.10760 (its use).

    >>> gold, proxy = jnp.array([0.0, 3.0, 6.0]), jnp.array([1.0, 2.0, 3.0])
    >>> float(unbiased_best_of_n(gold, proxy, n=2))  # pairs end in 3, 6, 6
    5.0
    """
    total = gold.shape[-1]
    if not 1 <= n <= total:
        raise ValueError(f"best of {n} needs {n} samples a prompt; there are {total}")
    gold, proxy = jnp.asarray(gold), jnp.asarray(proxy)
    # backwards and stable, so that of equal proxies the first comes last
    order = total - 1 - jnp.argsort(proxy[..., ::-1], axis=-1)
    rising = jnp.take_along_axis(gold, order, axis=-1)
    ways = [math.comb(i, n - 1) / math.comb(total, n) for i in range(total)]
    return rising @ jnp.asarray(np.array(ways), gold.dtype)


def powers_of_two(samples: int) -> list[int]:
    """The powers of 2 below the number of samples, and that number.

    >>> powers_of_two(6), powers_of_two(8)
    ([1, 2, 4, 6], [1, 2, 4, 8])
    """
    return [2**k for k in range(samples.bit_length()) if 2**k < samples] + [samples]


def best_of_n_rewards(
    gold: np.ndarray, proxy: np.ndarray, ns: Sequence[int]
) -> np.ndarray:
    """The gold reward of the best of n by the proxy, for each n of `ns` [len(ns) P]."""
    gold, proxy = np.asarray(gold, np.float32), np.asarray(proxy, np.float32)
    return np.stack([np.asarray(unbiased_best_of_n(gold, proxy, n=n)) for n in ns])
