"""Which tokens of a row each token attends to, and what it finds there."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxalign.batches import BRANCH_STRIDE, Branches
from jaxalign.models import blockwise_attention
from jaxalign.models.cache import swap_heads_and_time
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array

# (query [B T H E], key [B T K E], value [B T K E]) -> [B T H E]
Attend = Callable[[Array, Array, Array], Array]
Tree = TypeVar("Tree")


def attention_mask(
    segments: Array,
    positions: Array,
    config: ModelConfig,
    *,
    is_sliding: bool,
    branches: Branches | None = None,
) -> Any:
    """Which tokens see which: what came before in the same segment.

    A branch sees its prompt, too (`batches.BRANCH_STRIDE`). Padding is a segment of its own
    (0), so that nothing real ever attends to it. Of rows, [B T T]; of branches, three:
    of prompts among themselves, of each answer's tokens, and what these see of their
    prompt. None for cuDNN, which goes by the lengths of the rows.

    Args:
      segments, positions: [B T].
      is_sliding: only as far back as the window.
    """
    if config.attention == "cudnn":
        return None
    window = config.window if is_sliding else None
    if branches is None:
        return causal_mask(segments, positions, window)
    prompts, answers = split_branches((segments, positions), branches)
    asked = jax.tree.map(lambda x: jnp.repeat(x, branches.answers, axis=0), prompts)
    shown = segment_mask(answers, asked, window)
    return causal_mask(*prompts, window), causal_mask(*answers, window), shown


def causal_mask(segments: Array, positions: Array, window: int | None) -> Array:
    """What tokens see of what came before in their row [B T T]."""
    row, index = (segments, positions), jnp.arange(segments.shape[1])
    return segment_mask(row, row, window) & (index[:, None] >= index[None, :])[None]


def segment_mask(
    queries: tuple[Array, Array], keys: tuple[Array, Array], window: int | None
) -> Array:
    """Which queries see which keys, by their segments and positions [B T S]."""
    (segments, at), (others, places) = queries, keys
    query, key = segments[:, :, None], others[:, None, :]
    mask = (query == key) | (query % BRANCH_STRIDE == key)
    if window is not None:
        mask = mask & (at[:, :, None] - places[:, None, :] < window)
    return mask


def split_branches(rows: Tree, branches: Branches) -> tuple[Tree, Tree]:
    """The prompts [B P ...] and the answers, each in a row of its own [B*A L ...]."""
    first, count = branches
    answers = lambda x: x[:, first:].reshape(len(x) * count, -1, *x.shape[2:])
    return jax.tree.map(lambda x: x[:, :first], rows), jax.tree.map(answers, rows)


def select_attention(
    segments: Array, mask: Any, config: ModelConfig, branches: Branches | None = None
) -> Attend:
    """The attention of the training forward pass."""
    if mask is None:
        return cudnn_attention(segments, config)
    plain = config.attention_cap is None and config.dtype == "float32"
    find = (
        blockwise_cpu if plain and jax.default_backend() == "cpu" else causal_attention
    )
    if branches is None:
        return functools.partial(find, mask=mask, config=config)

    def attend(query: Array, key: Array, value: Array) -> Array:
        asked, answers = split_branches((query, key, value), branches)
        of_prompts, own, shown = mask
        first = find(*asked, mask=of_prompts, config=config)
        before = blockwise_attention.MaskedKV(
            swap_heads_and_time(asked[1]), swap_heads_and_time(asked[2]), shown
        )
        rest = find(*answers, mask=own, config=config, before=before)
        rest = rest.reshape(len(first), -1, *first.shape[2:])
        return jnp.concatenate([first, rest], axis=1)

    return attend


def causal_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array,
    config: ModelConfig,
    before: blockwise_attention.MaskedKV | None = None,
) -> Array:
    """softmax(query key' scale) value, block by block of queries.

    No block looks at keys after its end: of 8 blocks that saves 7 parts in 16.

    Args:
      mask: which keys a query sees, at most those up to its own place [B T T].
      before: what rows share, and see before their own keys.
    """
    read = []
    for rows, seen in blockwise_attention.query_blocks(query.shape[1]):
        parts = [
            (swap_heads_and_time(key[:, seen]), swap_heads_and_time(value[:, seen]))
        ]
        shown = mask[:, rows, seen]
        if before is not None:
            parts = [(before.key, before.value), *parts]
            shown = jnp.concatenate([before.mask[:, rows], shown], axis=-1)
        read.append(concat_kv_attention(query[:, rows], parts, shown, config))
    return jnp.concatenate(read, axis=1)


def blockwise_cpu(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array,
    config: ModelConfig,
    before: blockwise_attention.MaskedKV | None = None,
) -> Array:
    """Blockwise attention in float32 without a soft cap, for CPUs."""
    grouped = query.reshape(*query.shape[:2], key.shape[2], -1, query.shape[3])
    parts = [
        blockwise_attention.MaskedKV(
            swap_heads_and_time(key), swap_heads_and_time(value), mask
        )
    ]
    if before is not None:
        parts = [before, *parts]
    found = blockwise_attention.attend(
        grouped.transpose(0, 2, 3, 1, 4), parts, score_scale(config)
    )
    return found.transpose(0, 3, 1, 2, 4).reshape(query.shape)


def score_scale(config: ModelConfig) -> float:
    """By which scores are multiplied."""
    return config.head_dim**-0.5 if config.query_scale is None else config.query_scale


def dot_product_attention(
    query: Array, key: Array, value: Array, mask: Array, config: ModelConfig
) -> Array:
    """What each query [B T H E] finds among S keys, its scores and softmax in float32.

    scores = cap tanh(query key' scale / cap)    with a soft cap, else without the tanh

    Args:
      mask: [B T S].
    """
    return concat_kv_attention(
        query, [(swap_heads_and_time(key), swap_heads_and_time(value))], mask, config
    )


def concat_kv_attention(
    query: Array, parts: Sequence[tuple[Array, Array]], mask: Array, config: ModelConfig
) -> Array:
    """`dot_product_attention` among keys and values in parts, one after the other.

    Args:
      parts: [B K S E]; or [P K S E], each for the next B / P rows, which look at it in
        one product.
      mask: [B T S], of the slots of all parts.
    """
    rows, length, heads, size = query.shape
    groups = parts[0][0].shape[1]
    grouped = query.reshape(rows, length, groups, heads // groups, size)
    each = lambda x, part: x.reshape(len(part), -1, *x.shape[1:])
    whole = lambda x: x.reshape(rows, *x.shape[2:])
    scores = [
        whole(
            jnp.einsum(
                "pntkge,pkse->pnkgts",
                each(grouped, key),
                key,
                preferred_element_type=jnp.float32,
            )
        )
        for key, _ in parts
    ]
    score = score_scale(config) * jnp.concatenate(scores, axis=-1)
    if config.attention_cap is not None:
        score = config.attention_cap * jnp.tanh(score / config.attention_cap)
    score = jnp.where(~mask[:, None, None], blockwise_attention.MASKED_SCORE, score)
    shares = jax.nn.softmax(score, axis=-1).astype(query.dtype)
    read, start = jnp.zeros((), query.dtype), 0
    for _, value in parts:
        share = shares[..., start : start + value.shape[2]]
        seen = jnp.einsum("pnkgts,pkse->pntkge", each(share, value), value)
        read, start = read + whole(seen), start + value.shape[2]
    return read.reshape(rows, length, heads, size)


def cudnn_attention(segments: Array, config: ModelConfig) -> Attend:
    """cuDNN's kernel: causal, with lengths; a mask would become a dense bias there.

    What the kernel leaves in padding is not specified, and NaN * 0 is NaN: padding is
    put to 0 on the way in and out, and so are its gradients on the way back.
    """
    real = (segments > 0)[:, :, None, None]
    # the kernel never sees an empty row, such as those that only fill a batch up
    lengths = jnp.maximum(jnp.sum(segments > 0, axis=-1), 1).astype(jnp.int32)
    kept = lambda x: jnp.where(real, x, jnp.zeros((), x.dtype))

    def attend(query: Array, key: Array, value: Array) -> Array:
        read = jax.nn.dot_product_attention(
            kept(query),
            kept(key),
            kept(value),
            is_causal=True,
            scale=config.query_scale,
            query_seq_lengths=lengths,
            key_value_seq_lengths=lengths,
            implementation="cudnn",
        )
        return kept(read)

    return attend
