"""Log-probs and entropies of tokens from hidden states, in chunks of positions.

Logits [B T V] never exist as a whole: each chunk's are computed, reduced, and computed
again in the backward pass. Everything is in nats.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import custom_derivatives

from jaxalign.estimators.chunks import (
    balanced_chunk_size,
    join_chunks,
    scaled_logits,
    split_chunks,
)
from jaxalign.sharding import constrain, shard_count
from jaxalign.types import Array, Float, Int, typed

# Log-probs are clamped to this where the probability of all else must not be 0.
LARGEST_LOGP = -1e-6


class TokenStatistics(NamedTuple):
    """Log-prob of a token and entropy of its distribution, in nats."""

    logp: Array
    entropy: Array


class ChunkOptions(NamedTuple):
    """Static options of the chunked computation.

    Attributes:
      chunk: positions per chunk.
      logit_cap: final soft-capping of the logits.
      entropy: entropies are computed.
    """

    chunk: int
    logit_cap: float | None
    entropy: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def statistics(
    options: ChunkOptions,
    hidden: Array,
    unembed: Array,
    targets: Array,
    temperature: Array,
) -> TokenStatistics:
    """Log-probs and entropies [B T] in chunks, with a hand-written gradient.

    Autodiff would scatter into zeros as large as the logits, multiply in float32 in the
    backward pass, and sum the unembedding's gradient in its own dtype.
    """
    return compute_statistics(options, hidden, unembed, targets, temperature)[0]


def forward(
    options: ChunkOptions, *inputs: custom_derivatives.CustomVJPPrimal
) -> tuple[TokenStatistics, Any]:
    """Forward pass of `statistics`: its result and residuals."""
    return compute_statistics(options, *(x.value for x in inputs))


def compute_statistics(
    options: ChunkOptions,
    hidden: Array,
    unembed: Array,
    targets: Array,
    temperature: Array,
) -> tuple[TokenStatistics, Any]:
    """Statistics, and the residuals of their gradient: no logits."""
    gathered = constrain(unembed, None, "vocab")  # once, rather than for each chunk

    def of_chunk(part: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        hidden, targets = part
        scaled = scaled_logits(hidden, gathered, temperature, options.logit_cap)
        normalizer = jax.nn.logsumexp(scaled, axis=-1)
        target_logit = jnp.take_along_axis(scaled, targets[..., None], axis=-1)[..., 0]
        entropy = jnp.zeros_like(normalizer)
        if options.entropy:
            logp = scaled - normalizer[..., None]
            entropy = -jnp.sum(jnp.exp(logp) * logp, axis=-1)
        return target_logit - normalizer, entropy, normalizer

    parts = split_chunks(hidden, options.chunk), split_chunks(targets, options.chunk)
    by_chunk = jax.lax.map(of_chunk, parts)
    logp, entropy, normalizer = (join_chunks(x, targets.shape[1]) for x in by_chunk)
    inputs = (hidden, unembed, targets, temperature)
    return TokenStatistics(logp, entropy), (inputs, entropy, normalizer)


def logits_gradient(
    scaled: Array,
    targets: Array,
    entropy: Array,
    normalizer: Array,
    gradient: TokenStatistics,
    *,
    with_entropy: bool,
) -> Array:
    """Gradient of the logits [B C V] from the gradient of their statistics [B C].

    d logp / d logits = onehot - p,   d entropy / d logits = -p * (log p + entropy)
    """
    logp = scaled - normalizer[..., None]
    p = jnp.exp(logp)
    word = jnp.arange(scaled.shape[-1])[None, None, :]
    by_logits = gradient.logp[..., None] * ((word == targets[..., None]) - p)
    if with_entropy:
        by_logits -= gradient.entropy[..., None] * p * (logp + entropy[..., None])
    return by_logits


def backward(
    options: ChunkOptions, residuals: Any, gradient: TokenStatistics
) -> tuple[Array, Array, None, Array]:
    """Backward pass of `statistics`: gradients of its inputs.

    Each chunk's logits are computed again. Entropies used only as a metric have no
    gradient, and cost nothing here.
    """
    no_gradient = isinstance(gradient.entropy, custom_derivatives.SymbolicZero)
    with_entropy = options.entropy and not no_gradient
    gradient = TokenStatistics(*map(instantiate_zeros, gradient))
    (hidden, unembed, targets, temperature), entropy, normalizer = residuals
    gathered = constrain(unembed, None, "vocab")
    cap, wide = options.logit_cap, normalizer.dtype
    product = functools.partial(jnp.einsum, preferred_element_type=wide)
    # The unembedding's gradient is summed over the rows of a device as chunks go by,
    # and over devices once, at the end: not once a chunk.
    groups = shard_count("batch") if targets.shape[0] % shard_count("batch") == 0 else 1
    by_group = lambda x: x.reshape(groups, -1, x.shape[-1])

    def of_chunk(shared: tuple[Array, Array], part: Any) -> tuple[Any, Array]:
        by_unembed, by_temperature = shared
        hidden, *chunk = part
        scaled = scaled_logits(hidden, gathered, temperature, cap)
        by_logits = logits_gradient(scaled, *chunk, with_entropy=with_entropy)
        by_temperature -= jnp.sum(by_logits * scaled) / temperature.astype(wide)
        by_logits /= temperature.astype(wide)
        if cap is not None:
            by_logits *= 1.0 - jnp.square(scaled * temperature.astype(wide) / cap)
        # as the model computes: factors in its dtype, sums in float32
        by_logits = by_logits.astype(jnp.result_type(hidden, unembed))
        by_unembed += product("gnd,gnv->gdv", by_group(hidden), by_group(by_logits))
        if groups > 1:
            by_unembed = constrain(by_unembed, "batch", None, "vocab")
        by_hidden = product("bcv,dv->bcd", by_logits, gathered)
        return (by_unembed, by_temperature), by_hidden.astype(hidden.dtype)

    zeros = jnp.zeros((groups, *unembed.shape), wide), jnp.zeros((), wide)
    parts = (hidden, targets, entropy, normalizer, gradient)
    parts = jax.tree.map(lambda x: split_chunks(x, options.chunk), parts)
    (by_unembed, by_temperature), by_hidden = jax.lax.scan(of_chunk, zeros, parts)
    return (
        join_chunks(by_hidden, targets.shape[1]),
        jnp.sum(by_unembed, axis=0).astype(unembed.dtype),
        None,
        by_temperature.astype(temperature.dtype),
    )


def instantiate_zeros(x: Any) -> Array:
    """A symbolic zero as an array of zeros."""
    if isinstance(x, custom_derivatives.SymbolicZero):
        return jnp.zeros(x.shape, x.dtype)
    return x


statistics.defvjp(forward, backward, symbolic_zeros=True)


@typed
def token_logprobs(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
    temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, "B T"]:
    """Log-probs of target tokens, in chunks of positions; nothing is shifted.

    logits = hidden @ unembed;  logits = cap * tanh(logits / cap)
    logp = log_softmax(logits / temperature)[target]

    Products accumulate in float32 whatever the dtype of the inputs, those of the
    gradients too. Reverse mode only.

    Args:
      hidden: hidden states, final normalization applied.
      unembed: unembedding matrix.
      targets: ids of the tokens that the hidden states predict.
      chunk: positions whose logits exist at one time; by default as many as keep them
        within 256 MiB per device, if the mesh is in context (`jax.set_mesh`).
      logit_cap: final soft-capping (Gemma 2, arXiv:2408.00118, section 2).
      temperature: sampling temperature that these log-probs belong to, above 0.

    Returns:
      One log-prob per position, in nats.

    >>> hidden, unembed = jnp.ones((1, 1, 2)), jnp.zeros((2, 4))
    >>> logp = token_logprobs(hidden, unembed, jnp.array([[3]]))
    >>> bool(jnp.allclose(logp, -jnp.log(4.0)))
    True
    """
    chunk = balanced_chunk_size(targets.shape, unembed.shape[1], chunk)
    options = ChunkOptions(chunk, logit_cap, entropy=False)
    return statistics(options, hidden, unembed, targets, jnp.asarray(temperature)).logp


@typed
def token_statistics(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    targets: Int[Array, "B T"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
    temperature: float | Float[Array, ""] = 1.0,
) -> TokenStatistics:
    """Log-probs of target tokens and entropies of their distributions, [B T] each.

    Args:
      hidden, unembed, targets, chunk, logit_cap, temperature: as of `token_logprobs`.

    >>> hidden, unembed = jnp.ones((1, 1, 2)), jnp.zeros((2, 4))
    >>> statistics = token_statistics(hidden, unembed, jnp.array([[3]]))
    >>> bool(jnp.allclose(statistics.entropy, jnp.log(4.0)))
    True
    """
    chunk = balanced_chunk_size(targets.shape, unembed.shape[1], chunk)
    options = ChunkOptions(chunk, logit_cap, entropy=True)
    return statistics(options, hidden, unembed, targets, jnp.asarray(temperature))


@typed
def next_token_logprobs(
    hidden: Float[Array, "B T D"],
    unembed: Float[Array, "D V"],
    tokens: Int[Array, "B T"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
    temperature: float | Float[Array, ""] = 1.0,
) -> Float[Array, "B T"]:
    """Log-probs of a row's own tokens, each given the tokens before it.

    Args:
      tokens: ids of the row's tokens.
      hidden, unembed, chunk, logit_cap, temperature: as of `token_logprobs`.

    Returns:
      Entry t is the log-prob of token t, in nats; entry 0 is 0, since nothing predicts
      the first token.

    >>> hidden, unembed = jnp.ones((1, 2, 2)), jnp.zeros((2, 4))
    >>> logp = next_token_logprobs(hidden, unembed, jnp.array([[3, 1]]))
    >>> bool(jnp.allclose(logp, jnp.array([[0.0, -jnp.log(4.0)]])))
    True
    """
    logp = token_logprobs(
        hidden[:, :-1],
        unembed,
        tokens[:, 1:],
        chunk=chunk,
        logit_cap=logit_cap,
        temperature=temperature,
    )
    return jnp.pad(logp, ((0, 0), (1, 0)))


@typed
def log1mexp(logp: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Log-prob of the complement, log(1 - exp(logp)), without cancellation.

    Args:
      logp: log-prob, in nats; clamped to at most -1e-6, since the complement of a
        certain event has log-prob -inf.

    Returns:
      Log-prob of the complement, in nats.

    >>> bool(abs(log1mexp(jnp.log(jnp.array([0.75])))[0] - jnp.log(0.25)) < 1e-6)
    True
    """
    logp = jnp.minimum(logp, LARGEST_LOGP)
    # expm1 keeps the digits near 0, log1p those far from 0; near 0, where exp(x) would
    # round to 1 in half precision, log1p gets a stand-in
    near = logp > -jnp.log(2.0)
    far = jnp.where(near, -1.0, logp)
    return jnp.where(near, jnp.log(-jnp.expm1(logp)), jnp.log1p(-jnp.exp(far)))
