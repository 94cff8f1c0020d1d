"""The best of n samples, as chosen by a proxy and as judged by the gold reward."""

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

    with gold_(i) that of the i-th lowest proxy. It is the mean over all n-subsets, of
    which C(i - 1, n - 1) have the i-th as their best: the others are below it. One set
    of N samples so serves every n up to N, with no sampling anew. Of equal proxies the
    first sample is best, as `argmax` has it.

    Args:
      gold: what is reported. Pass the proxy itself for the proxy's own curve.
      proxy: by which the best is chosen.

    Raises:
      ValueError: n is not of 1..N.

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
    """`unbiased_best_of_n` for each n [len(ns) P], of rewards [P N]."""
    gold, proxy = np.asarray(gold, np.float32), np.asarray(proxy, np.float32)
    return np.stack([np.asarray(unbiased_best_of_n(gold, proxy, n=n)) for n in ns])
