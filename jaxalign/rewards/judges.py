"""AI feedback: preferences and ratings from the log-probs of an LLM judge.

The judge's prompt ends where a letter or a number is due; the log-probs of these
options are the result, and no answer is sampled. The prompts are in `judge_prompts`.

References: Bai et al. 2022, arXiv:2212.08073 (Constitutional AI); Lee et al. 2023,
arXiv:2309.00267 (RLAIF); Tunstall et al. 2023, arXiv:2310.16944 (Zephyr).
"""

import functools

import jax
import jax.numpy as jnp

from jaxalign.estimators import token_logprobs
from jaxalign.types import (
    Array,
    Bool,
    Float,
    Int,
    Key,
    LanguageModel,
    Params,
    Scalar,
    typed,
)

Options = tuple[tuple[int, ...], ...]


@functools.partial(jax.jit, static_argnums=(0, 4))
def option_logps(
    model: LanguageModel,
    params: Params,
    prompts: Int[Array, "B T"],
    lengths: Int[Array, "B"],
    options: Options,
) -> Float[Array, "B K"]:
    """Log-probs of K options as the continuation, normalized over the options.

    The prompt is read once for all options. An option that begins with another one, as
    10 begins with 1 in digits, is not also counted as the other: p(1) excludes a 1
    that is followed by a 0.

    Args:
      model, params: the judge.
      prompts: token ids, right-padded.
      lengths: number of tokens of each prompt, at least 1.
      options: token ids of each option.

    Returns:
      Log-probs [B K], in nats.

    Raises:
      ValueError: an option without tokens, or two that are the same.
    """
    if len(set(options)) < len(options) or not all(options):
        raise ValueError(f"options must have tokens, and differ: {options}")
    params = model.prepare(params)
    unembed, cap = model.unembed(params), model.config.logit_cap
    room = prompts.shape[1] + max(map(len, options)) - 1
    hidden, cache = model.extend(params, prompts, model.init_cache(len(prompts), room))
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)
    cache = cache._replace(length=lengths)

    def logp(option: tuple[int, ...]) -> Array:
        tokens = jnp.broadcast_to(jnp.array(option), (len(prompts), len(option)))
        states = last
        if len(option) > 1:
            later, _ = model.extend(params, tokens[:, :-1], cache)
            states = jnp.concatenate([last, later], axis=1)
        return token_logprobs(states, unembed, tokens, logit_cap=cap).sum(axis=1)

    logps = exclusive_logps({option: logp(option) for option in options})
    return jax.nn.log_softmax(jnp.stack([logps[o] for o in options], axis=1), axis=1)


def exclusive_logps(
    logps: dict[tuple[int, ...], Array],
) -> dict[tuple[int, ...], Array]:
    """Log-probs of options, excluding their continuations to longer options.

    p_exclusive(option) = p(option)
                          - sum of p_exclusive(other), over others that begin with it
    """
    exclusive: dict[tuple[int, ...], Array] = {}
    for option in sorted(logps, key=len, reverse=True):
        logp = logps[option]
        longer = [x for other, x in exclusive.items() if other[: len(option)] == option]
        # the continuations have less than the option itself, but for rounding
        shares = sum((jnp.exp(x - logp) for x in longer), jnp.zeros_like(logp))
        exclusive[option] = logp + jnp.log1p(-jnp.minimum(shares, 1.0 - 1e-6))
    return exclusive


@typed
def average_orders(
    first: Float[Array, "B"], swapped: Float[Array, "B"]
) -> Float[Array, "B"]:
    """Probability that answer a is better than b, averaged over both orders.

    p = (first + (1 - swapped)) / 2

    An additive position bias cancels: a judge that looks at the position alone gives
    exactly 1/2.

    Args:
      first: probability of the first option when a is first, in [0, 1].
      swapped: probability of the first option when b is first.

    Returns:
      One probability per pair.

    Reference: Lee et al. 2023, arXiv:2309.00267 (position bias).

    >>> average_orders(jnp.array([0.75, 0.9]), jnp.array([0.25, 0.9])).tolist()
    [0.75, 0.5]
    """
    return 0.5 + 0.5 * (first - swapped)


@typed
def clamp_labels(
    p: Float[Array, "B"], *, low: Scalar = 0.4, high: Scalar = 0.6
) -> Float[Array, "B"]:
    """Clamp soft labels of a chain-of-thought judge, which are overconfident.

    label = clip(p, low, high)

    Args:
      p: probability that an answer is better, in [0, 1].
      low, high: bounds of the labels, in [0, 1].

    Returns:
      One label per pair.

    Reference: Bai et al. 2022, arXiv:2212.08073, section 4.1 (40 to 60 per cent).

    >>> clamp_labels(jnp.array([0.0, 0.5, 1.0]), low=0.25, high=0.75).tolist()
    [0.25, 0.5, 0.75]
    """
    return jnp.clip(p, low, high)


@typed
def expected_rating(
    logps: Float[Array, "B K"], ratings: Float[Array, "K"]
) -> Float[Array, "B"]:
    """Expected rating under the judge's distribution.

    rating = sum over k of p_k * ratings_k

    Args:
      logps: log-probs of K ratings, normalized over them, in nats.
      ratings: the ratings as numbers.

    Returns:
      One rating per answer.

    Reference: Lee et al. 2023, arXiv:2309.00267 (direct RLAIF); Liu et al. 2023,
    arXiv:2303.16634 (G-Eval).

    >>> logps = jnp.log(jnp.array([[0.25, 0.75]]))
    >>> expected_rating(logps, jnp.array([1.0, 5.0])).tolist()
    [4.0]
    """
    return jnp.exp(logps) @ ratings


@typed
def best_and_random(
    scores: Float[Array, "P K"], mask: Bool[Array, "P K"], key: Key
) -> tuple[Int[Array, "P"], Int[Array, "P"]]:
    """Indices of each prompt's best answer and of a uniformly random other one.

    Pairs with a random rejected answer are more varied than pairs with the worst.

    Args:
      scores: scores of K answers per prompt.
      mask: True on answers; at least two per prompt.
      key: random key of the other answer.

    Returns:
      (indices of the best, indices of the other).

    Reference: Tunstall et al. 2023, arXiv:2310.16944, section 3 (Zephyr).

    >>> scores, mask = jnp.array([[1.0, 3.0]]), jnp.array([[True, True]])
    >>> best_and_random(scores, mask, jax.random.key(0))
    (Array([1], dtype=int32), Array([0], dtype=int32))
    """
    best = jnp.argmax(jnp.where(mask, scores, -jnp.inf), axis=1)
    others = mask & (jnp.arange(scores.shape[1])[None, :] != best[:, None])
    noise = jax.random.uniform(key, scores.shape)
    return best, jnp.argmax(jnp.where(others, noise, -1.0), axis=1)
