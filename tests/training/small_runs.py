"""A few steps of a small model, which tests of checkpoints save and compare."""

import jax
import jax.numpy as jnp

from jaxalign.training import optimizer, state

KEY = jax.random.key(7)
ADAMW = optimizer.adamw(1e-2, steps=8, warmup=2, schedule="cosine", weight_decay=0.1)


def new(model, seed=0):
    return state.create(model.init(jax.random.key(seed)), ADAMW, KEY)


def run(now, update, rows, steps, log):
    """Each step's rows come from the run's key and the step, as in an experiment."""
    for _ in range(steps):
        at = jax.random.fold_in(now.key, now.step)
        seed = int(jax.random.randint(at, (), 0, 1000))
        now, metrics = update(now, rows(8, seed))
        log.append({n: float(x) for n, x in metrics.items()})
    return now


def plain(tree):
    typed = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if typed(x) else x, tree)
