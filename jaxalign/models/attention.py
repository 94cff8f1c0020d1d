"""Attention masks, and the attention kernel of each backend."""

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp

from jaxalign.batches import BRANCH_STRIDE, Branches
from jaxalign.models import blockwise_attention
from jaxalign.models.blockwise_attention import MaskedKV
from jaxalign.models.cache import swap_heads_and_time
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array

# (query [B T H E], key [B T K E], value [B T K E]) -> [B T H E]
Attend = Callable[[Array, Array, Array], Array]
# [B T T]; of branches, the masks of prompts, of answers, and of answers on prompts;
# None where lengths replace a mask
Mask = Array | tuple[Array, Array, Array] | None
Tree = TypeVar("Tree")


def attention_mask(
    segments: Array,
    positions: Array,
    config: ModelConfig,
    *,
    is_sliding: bool,
    branches: Branches | None = None,
) -> Mask:
    """The causal mask within segments; True where a query attends to a key.

    A branch attends to its prompt, too (`batches.BRANCH_STRIDE`). Padding is a segment
    of its own (0), so that no real token attends to it.

    Args:
      segments, positions: [B T].
      is_sliding: for layers with a sliding window.
      branches: the layout of all rows, where they are prompts with answers.

    Returns:
      [B T T]; with branches, three masks: of prompts [B P P], of answers in rows of
      their own [B*A L L], and of answers on their prompts [B*A L P]; None for cuDNN,
      which takes lengths.
    """
    if config.attention == "cudnn":
        return None
    window = config.window if is_sliding else None
    if branches is None:
        return causal_mask(segments, positions, window)
    prompts, answers = split_branches((segments, positions), branches)
    repeated = jax.tree.map(lambda x: jnp.repeat(x, branches.answers, axis=0), prompts)
    on_prompts = segment_mask(answers, repeated, window)
    return causal_mask(*prompts, window), causal_mask(*answers, window), on_prompts


def causal_mask(segments: Array, positions: Array, window: int | None) -> Array:
    """The mask of each token on the earlier tokens of its segment [B T T]."""
    row, index = (segments, positions), jnp.arange(segments.shape[1])
    return segment_mask(row, row, window) & (index[:, None] >= index[None, :])[None]


def segment_mask(
    queries: tuple[Array, Array], keys: tuple[Array, Array], window: int | None
) -> Array:
    """Where a query and a key share a segment, or a branch and its prompt [B T S].

    Args:
      queries, keys: segments and positions of each, [B T] and [B S].
      window: positions that a query looks back on, its own included; None for all.
    """
    (query_segments, query_positions), (key_segments, key_positions) = queries, keys
    query, key = query_segments[:, :, None], key_segments[:, None, :]
    mask = (query == key) | (query % BRANCH_STRIDE == key)
    if window is not None:
        distance = query_positions[:, :, None] - key_positions[:, None, :]
        mask = mask & (distance < window)
    return mask


def split_branches(rows: Tree, branches: Branches) -> tuple[Tree, Tree]:
    """Split rows [B T ...] into prompts [B P ...] and answers [B*A L ...]."""
    first, count = branches
    answers = lambda x: x[:, first:].reshape(len(x) * count, -1, *x.shape[2:])
    return jax.tree.map(lambda x: x[:, :first], rows), jax.tree.map(answers, rows)


def select_attention(
    segments: Array, mask: Mask, config: ModelConfig, branches: Branches | None = None
) -> Attend:
    """The attention of the training forward pass, by backend and configuration.

    `cudnn_attention` where the configuration selects it; `blockwise_cpu` on a CPU in
    float32 without a soft cap; else `causal_attention`.

    Args:
      mask: of `attention_mask`.
    """
    if mask is None:
        return cudnn_attention(segments, config)
    uncapped = config.attention_cap is None and config.dtype == "float32"
    on_cpu = uncapped and jax.default_backend() == "cpu"
    attention = blockwise_cpu if on_cpu else causal_attention
    if branches is None:
        return functools.partial(attention, mask=mask, config=config)

    def attend(query: Array, key: Array, value: Array) -> Array:
        prompts, answers = split_branches((query, key, value), branches)
        prompt_mask, answer_mask, on_prompts = mask
        of_prompts = attention(*prompts, mask=prompt_mask, config=config)
        prefix_key, prefix_value = map(swap_heads_and_time, prompts[1:])
        prefix = MaskedKV(prefix_key, prefix_value, on_prompts)
        of_answers = attention(*answers, mask=answer_mask, config=config, prefix=prefix)
        of_answers = of_answers.reshape(len(of_prompts), -1, *of_prompts.shape[2:])
        return jnp.concatenate([of_prompts, of_answers], axis=1)

    return attend


def causal_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array,
    config: ModelConfig,
    prefix: MaskedKV | None = None,
) -> Array:
    """softmax(scale query key') value, one block of queries at a time.

    A block reads no keys after its own end: with 8 blocks that saves 7/16 of the work.

    Args:
      query: [B T H E].
      key, value: [B T K E].
      mask: causal [B T T].
      prefix: keys and values that rows share, before their own.

    Returns:
      [B T H E].
    """
    outputs = []
    for rows, visible in blockwise_attention.query_blocks(query.shape[1]):
        own = (
            swap_heads_and_time(key[:, visible]),
            swap_heads_and_time(value[:, visible]),
        )
        parts, part_mask = [own], mask[:, rows, visible]
        if prefix is not None:
            parts = [(prefix.key, prefix.value), own]
            part_mask = jnp.concatenate([prefix.mask[:, rows], part_mask], axis=-1)
        outputs.append(concat_kv_attention(query[:, rows], parts, part_mask, config))
    return jnp.concatenate(outputs, axis=1)


def blockwise_cpu(
    query: Array,
    key: Array,
    value: Array,
    *,
    mask: Array,
    config: ModelConfig,
    prefix: MaskedKV | None = None,
) -> Array:
    """`causal_attention` in float32 without a soft cap, with a gradient for CPUs."""
    grouped = query.reshape(*query.shape[:2], key.shape[2], -1, query.shape[3])
    parts = [MaskedKV(swap_heads_and_time(key), swap_heads_and_time(value), mask)]
    if prefix is not None:
        parts = [prefix, *parts]
    output = blockwise_attention.attend(
        grouped.transpose(0, 2, 3, 1, 4), parts, score_scale(config)
    )
    return output.transpose(0, 3, 1, 2, 4).reshape(query.shape)


def score_scale(config: ModelConfig) -> float:
    """The factor of query key' in the scores; 1 / sqrt(head_dim) by default."""
    return config.head_dim**-0.5 if config.query_scale is None else config.query_scale


def dot_product_attention(
    query: Array, key: Array, value: Array, mask: Array, config: ModelConfig
) -> Array:
    """softmax(scores) value, with scores and softmax in float32.

    scores = cap tanh(scale query key' / cap)    with a soft cap, else without the tanh

    Args:
      query: [B T H E].
      key, value: [B S K E].
      mask: [B T S], True where a query attends to a key.

    Returns:
      [B T H E].
    """
    part = swap_heads_and_time(key), swap_heads_and_time(value)
    return concat_kv_attention(query, [part], mask, config)


def concat_kv_attention(
    query: Array, parts: Sequence[tuple[Array, Array]], mask: Array, config: ModelConfig
) -> Array:
    """`dot_product_attention` over the concatenation of several keys and values.

    Args:
      query: [B T H E].
      parts: keys and values [B K S E]; or [P K S E], each shared by B / P consecutive
        rows, which attend to it in one product.
      mask: [B T S], over the slots of all parts.

    Returns:
      [B T H E].
    """
    rows, length, heads, size = query.shape
    groups = parts[0][0].shape[1]
    grouped = query.reshape(rows, length, groups, heads // groups, size)
    split_rows = lambda x, part: x.reshape(len(part), -1, *x.shape[1:])
    merge_rows = lambda x: x.reshape(rows, *x.shape[2:])
    part_scores = [
        merge_rows(
            jnp.einsum(
                "pntkge,pkse->pnkgts",
                split_rows(grouped, key),
                key,
                preferred_element_type=jnp.float32,
            )
        )
        for key, _ in parts
    ]
    scores = score_scale(config) * jnp.concatenate(part_scores, axis=-1)
    if config.attention_cap is not None:
        scores = config.attention_cap * jnp.tanh(scores / config.attention_cap)
    scores = jnp.where(~mask[:, None, None], blockwise_attention.MASKED_SCORE, scores)
    weights = jax.nn.softmax(scores, axis=-1).astype(query.dtype)
    output, start = jnp.zeros((), query.dtype), 0
    for _, value in parts:
        part_weights = weights[..., start : start + value.shape[2]]
        part_output = jnp.einsum(
            "pnkgts,pkse->pntkge", split_rows(part_weights, value), value
        )
        output, start = output + merge_rows(part_output), start + value.shape[2]
    return output.reshape(rows, length, heads, size)


def cudnn_attention(segments: Array, config: ModelConfig) -> Attend:
    """cuDNN's fused kernel: causal, of one sequence per row, by its length.

    It takes no mask, which would become a dense bias. Its output and gradients on
    padding are unspecified, and NaN * 0 is NaN: padding is set to 0 before and after,
    and with it its gradients.

    Args:
      segments: 1 on the tokens of each row, 0 on padding [B T].
    """
    real = (segments > 0)[:, :, None, None]
    # rows that only fill up a batch are empty, and the kernel needs a token in each
    lengths = jnp.maximum(jnp.sum(segments > 0, axis=-1), 1).astype(jnp.int32)
    zero_padding = lambda x: jnp.where(real, x, jnp.zeros((), x.dtype))

    def attend(query: Array, key: Array, value: Array) -> Array:
        output = jax.nn.dot_product_attention(
            zero_padding(query),
            zero_padding(key),
            zero_padding(value),
            is_causal=True,
            scale=config.query_scale,
            query_seq_lengths=lengths,
            key_value_seq_lengths=lengths,
            implementation="cudnn",
        )
        return zero_padding(output)

    return attend
