"""Log-probs of tokens from hidden states, without ever holding [B T V] logits."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import custom_derivatives

from jaxalign.sharding import constrain, shard_count
from jaxalign.types import Array, Float, Int, typed

# The most logits of one chunk on each device: 256 MiB in float32.
CHUNK_LOGITS = 2**26
# What log-probs are kept below, where the probability of all else must not be 0.
LARGEST_LOGP = -1e-6


class TokenStatistics(NamedTuple):
    """What a distribution says of one token: its log-prob, and the entropy, in nats."""

    logp: Array
    entropy: Array


class ChunkOptions(NamedTuple):
    """What is static: positions per chunk, soft-capping, whether entropies are due."""

    chunk: int
    logit_cap: float | None
    entropy: bool


def balanced_chunk_size(
    shape: tuple[int, int], vocabulary: int, chunk: int | None
) -> int:
    """Positions per chunk: as asked or as fit, then evened out over the chunks."""
    rows, length = shape
    if chunk is None:
        devices = shard_count("batch") * shard_count("vocab")
        chunk = CHUNK_LOGITS * devices // max(1, rows * vocabulary)
    parts = -(-length // max(1, chunk))
    return -(-length // max(1, parts)) or 1


def split_chunks(x: Array, chunk: int) -> Array:
    """[B T ...] -> [N B C ...]: chunks of time in front; rows stay on their devices."""
    rows, length, *rest = x.shape
    parts = -(-length // chunk)
    spare = ((0, 0), (0, parts * chunk - length), *((0, 0) for _ in rest))
    return jnp.moveaxis(jnp.pad(x, spare).reshape(rows, parts, chunk, *rest), 1, 0)


def join_chunks(x: Array, length: int) -> Array:
    """The inverse of `split_chunks`: [N B C ...] -> [B T ...]."""
    parts, rows, chunk, *rest = x.shape
    return jnp.moveaxis(x, 0, 1).reshape(rows, parts * chunk, *rest)[:, :length]


def scaled_logits(
    hidden: Array, unembed: Array, temperature: Array, logit_cap: float | None
) -> Array:
    """Logits [B C V] in float32: capped, then divided by the temperature."""
    wide = jnp.result_type(hidden, unembed, jnp.float32)
    logits = jnp.einsum("bcd,dv->bcv", hidden, unembed, preferred_element_type=wide)
    if logit_cap is not None:
        logits = logit_cap * jnp.tanh(logits / logit_cap)
    return logits / temperature.astype(wide)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def statistics(
    knobs: ChunkOptions,
    hidden: Array,
    unembed: Array,
    targets: Array,
    temperature: Array,
) -> TokenStatistics:
    """Log-probs and entropies [B T], chunk by chunk, with their gradient by hand.

    By hand, since autodiff would scatter into zeros as large as the logits, multiply
    in float32 going backward, and add up the unembedding's gradient in its own dtype.
    """
    return compute_statistics(knobs, hidden, unembed, targets, temperature)[0]


def forward(
    knobs: ChunkOptions, *inputs: custom_derivatives.CustomVJPPrimal
) -> tuple[TokenStatistics, Any]:
    """What `statistics` returns, and what going backward needs."""
    return compute_statistics(knobs, *(x.value for x in inputs))


def compute_statistics(
    knobs: ChunkOptions,
    hidden: Array,
    unembed: Array,
    targets: Array,
    temperature: Array,
) -> tuple[TokenStatistics, Any]:
    """The statistics, and what their gradient needs: no logits."""
    gathered = constrain(unembed, None, "vocab")  # once, rather than for each chunk

    def of_chunk(part: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        hidden, targets = part
        scaled = scaled_logits(hidden, gathered, temperature, knobs.logit_cap)
        normaliser = jax.nn.logsumexp(scaled, axis=-1)
        picked = jnp.take_along_axis(scaled, targets[..., None], axis=-1)[..., 0]
        entropy = jnp.zeros_like(normaliser)
        if knobs.entropy:
            logp = scaled - normaliser[..., None]
            entropy = -jnp.sum(jnp.exp(logp) * logp, axis=-1)
        return picked - normaliser, entropy, normaliser

    parts = split_chunks(hidden, knobs.chunk), split_chunks(targets, knobs.chunk)
    found = jax.lax.map(of_chunk, parts)
    logp, entropy, normaliser = (join_chunks(x, targets.shape[1]) for x in found)
    inputs = (hidden, unembed, targets, temperature)
    return TokenStatistics(logp, entropy), (inputs, entropy, normaliser)


def logits_gradient(
    scaled: Array,
    targets: Array,
    entropy: Array,
    normaliser: Array,
    gradient: TokenStatistics,
    *,
    with_entropy: bool,
) -> Array:
    """What the logits [B C V] get from a gradient of their statistics [B C].

    d logp / d logits = onehot - p,   d entropy / d logits = -p * (log p + entropy)
    """
    logp = scaled - normaliser[..., None]
    p = jnp.exp(logp)
    word = jnp.arange(scaled.shape[-1])[None, None, :]
    found = gradient.logp[..., None] * ((word == targets[..., None]) - p)
    if with_entropy:
        found -= gradient.entropy[..., None] * p * (logp + entropy[..., None])
    return found


def backward(
    knobs: ChunkOptions, residuals: Any, gradient: TokenStatistics
) -> tuple[Array, Array, None, Array]:
    """Gradients of the inputs of `statistics`; each chunk's logits come again.

    Entropies that are watched only have no gradient, and cost nothing here.
    """
    watched = isinstance(gradient.entropy, custom_derivatives.SymbolicZero)
    with_entropy = knobs.entropy and not watched
    gradient = TokenStatistics(*map(instantiate_zeros, gradient))
    (hidden, unembed, targets, temperature), entropy, normaliser = residuals
    gathered = constrain(unembed, None, "vocab")
    cap, wide = knobs.logit_cap, normaliser.dtype
    product = functools.partial(jnp.einsum, preferred_element_type=wide)
    # The unembedding's gradient is summed over the rows of a device as chunks go by,
    # and over devices once, at the end: not once a chunk.
    groups = shard_count("batch") if targets.shape[0] % shard_count("batch") == 0 else 1
    by_group = lambda x: x.reshape(groups, -1, x.shape[-1])

    def of_chunk(shared: tuple[Array, Array], part: Any) -> tuple[Any, Array]:
        by_unembed, by_temperature = shared
        hidden, *about = part
        scaled = scaled_logits(hidden, gathered, temperature, cap)
        by_logits = logits_gradient(scaled, *about, with_entropy=with_entropy)
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
    parts = (hidden, targets, entropy, normaliser, gradient)
    parts = jax.tree.map(lambda x: split_chunks(x, knobs.chunk), parts)
    (by_unembed, by_temperature), by_hidden = jax.lax.scan(of_chunk, zeros, parts)
    return (
        join_chunks(by_hidden, targets.shape[1]),
        jnp.sum(by_unembed, axis=0).astype(unembed.dtype),
        None,
        by_temperature.astype(temperature.dtype),
    )


def instantiate_zeros(x: Any) -> Array:
    """Zeros as an array."""
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
    """Log-probs of targets, chunk by chunk of time; nothing is shifted.

    logits = hidden @ unembed;  logits = cap * tanh(logits / cap)
    logp = log_softmax(logits / temperature)[target]

    Products accumulate in float32 whatever the inputs are, those of the gradients too.
    Going backward, each chunk's logits are computed again. Reverse mode only.

    Args:
      chunk: positions whose logits exist at one time; by default as many as keep them
        within 256 MiB a device, if the mesh is in context (`jax.set_mesh`).
      logit_cap: final soft-capping (Gemma 2, arXiv:2408.00118, section 2).
      temperature: of the sampling that these log-probs are compared with.

    >>> hidden, unembed = jnp.ones((1, 1, 2)), jnp.zeros((2, 4))
    >>> logp = token_logprobs(hidden, unembed, jnp.array([[3]]))
    >>> bool(jnp.allclose(logp, -jnp.log(4.0)))
    True
    """
    chunk = balanced_chunk_size(targets.shape, unembed.shape[1], chunk)
    knobs = ChunkOptions(chunk, logit_cap, entropy=False)
    return statistics(knobs, hidden, unembed, targets, jnp.asarray(temperature)).logp


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
    """Log-probs of targets and entropies of their distributions, [B T] each.

    Arguments as of `token_logprobs`.

    >>> hidden, unembed = jnp.ones((1, 1, 2)), jnp.zeros((2, 4))
    >>> found = token_statistics(hidden, unembed, jnp.array([[3]]))
    >>> bool(jnp.allclose(found.entropy, jnp.log(4.0)))
    True
    """
    chunk = balanced_chunk_size(targets.shape, unembed.shape[1], chunk)
    knobs = ChunkOptions(chunk, logit_cap, entropy=True)
    return statistics(knobs, hidden, unembed, targets, jnp.asarray(temperature))


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
    """Log-probs of a row's own tokens: entry t is of token t given those before it.

    Entry 0 is 0, since nothing predicts the first token. Arguments as of
    `token_logprobs`.

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
    """The log-prob of anything else, log(1 - exp(logp)), to all digits.

    Log-probs are kept below -1e-6: of what is certain, all else is impossible.

    >>> bool(abs(log1mexp(jnp.log(jnp.array([0.75])))[0] - jnp.log(0.25)) < 1e-6)
    True
    """
    logp = jnp.minimum(logp, LARGEST_LOGP)
    # expm1 keeps the digits near 0, log1p those far from it, where it would meet
    # exp(x) = 1 in half precision
    near = logp > -jnp.log(2.0)
    far = jnp.where(near, -1.0, logp)
    return jnp.where(near, jnp.log(-jnp.expm1(logp)), jnp.log1p(-jnp.exp(far)))
