"""Numbers of objectives, as floats."""

import jax
import numpy as np

KEY = jax.random.key(0)
sigmoid = lambda x: 1 / (1 + np.exp(-x))


def means(result):
    total, (weight, metrics) = result
    named = {n: float(s) / float(w) for n, (s, w) in metrics.items()}
    return float(total) / float(weight), named


def sums(logp, mask):
    return (logp * mask).sum(-1)
