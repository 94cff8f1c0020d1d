"""Workloads to time: one step of each algorithm on random weights and tokens.

A workload is a function that runs one step and returns an array to wait for, with the
floating-point operations that the step needs at least. The default sizes are those of
the peers' scripts: a Llama of width 256 with 4 layers, 16 rows of 256 tokens.
"""

import time
from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np

from jaxalign.batches import AnswerBatch, PreferenceBatch, TokenBatch, from_lengths
from jaxalign.data import packing
from jaxalign.data.examples import Example, TokenRow
from jaxalign.models import heads, transformer
from jaxalign.models.config import ModelConfig
from jaxalign.planning import flops
from jaxalign.planning.online_workloads import generate, grpo
from jaxalign.planning.workload import PEERS_MODEL as PEERS_MODEL
from jaxalign.planning.workload import Size as Size
from jaxalign.planning.workload import Workload as Workload
from jaxalign.planning.workload import stepper
from jaxalign.training import objectives, reference_cache


def tokens_of(config: ModelConfig, rows: int, size: Size, seed: int) -> TokenBatch:
    """Random token rows; the tokens after the prompt are trained on."""
    rng = np.random.default_rng(seed)
    return from_lengths(
        rng.integers(0, config.vocab_size, (rows, size.length), dtype=np.int32),
        np.full(rows, size.length, np.int32),
        np.full(rows, size.prompt, np.int32),
    )


def pairs_of(config: ModelConfig, size: Size) -> PreferenceBatch:
    """Random pairs."""
    pairs = size.rows // 2
    return PreferenceBatch(
        chosen=tokens_of(config, pairs, size, 0),
        rejected=tokens_of(config, pairs, size, 1),
        margin=np.zeros(pairs, np.float32),
        row=np.arange(pairs, dtype=np.int32),
        valid=np.ones(pairs, bool),
    )


def shared_pairs_of(config: ModelConfig, size: Size) -> AnswerBatch:
    """Random pairs, packed so that both answers share one copy of the prompt."""
    rng = np.random.default_rng(0)
    masks = np.arange(size.length) >= size.prompt
    pairs = []
    for i in range(size.rows // 2):
        tokens = rng.integers(0, config.vocab_size, (2, size.length), dtype=np.int32)
        tokens[1, : size.prompt] = tokens[0, : size.prompt]
        pairs.append(Example(tuple(TokenRow(row, masks) for row in tokens), i))
    batches = packing.answer_batches(pairs, len(pairs), seed=0)
    return cast(AnswerBatch, next(batches))


def shared_sizes(size: Size) -> tuple[int, int, float]:
    """Rows, tokens per row, and keys per token, of pairs that share prompts."""
    answer = size.length - size.prompt
    keys = flops.shared_prompt_keys(size.prompt, answer)
    return size.rows // 2, size.prompt + 2 * answer, keys


def sft(config: ModelConfig, size: Size) -> Workload:
    """A step of supervised finetuning."""
    model = transformer.language_model(config)
    batch = tokens_of(config, size.rows, size, 0)
    run = stepper(objectives.sft(model), model.init(jax.random.key(0)), batch)
    cost = 3 * flops.forward_flops(config, size.rows, size.length)
    return Workload(run, cost, size.rows * size.length, 0.0)


def reward(config: ModelConfig, size: Size) -> Workload:
    """A step of a reward model on pairs."""
    model = heads.scalar_model(config)
    batch = pairs_of(config, size)
    run = stepper(objectives.reward(model), model.init(jax.random.key(0)), batch)
    cost = 3 * flops.scalar_forward_flops(config, size.rows, size.length)
    return Workload(run, cost, size.rows * size.length, 0.0)


def reward_shared(config: ModelConfig, size: Size) -> Workload:
    """The same step where both answers share one copy of the prompt."""
    model = heads.scalar_model(config)
    batch = shared_pairs_of(config, size)
    run = stepper(objectives.reward(model), model.init(jax.random.key(0)), batch)
    rows, length, keys = shared_sizes(size)
    cost = 3 * flops.scalar_forward_flops(config, rows, length, keys_per_token=keys)
    return Workload(run, cost, size.rows * size.length, 0.0)


def dpo_shared(config: ModelConfig, size: Size) -> Workload:
    """The step of `dpo_cached` where both answers share one copy of the prompt."""
    model = transformer.language_model(config)
    pairs = shared_pairs_of(config, size)
    zeros = np.zeros(len(pairs.row), np.float32)
    batch = pairs.with_reference(zeros, zeros)
    loss = objectives.pairwise_loss("dpo", beta=0.1)
    params = model.init(jax.random.key(0))
    run = stepper(objectives.preference(model, loss), params, batch)
    rows, length, keys = shared_sizes(size)
    cost = 3 * flops.forward_flops(config, rows, length, keys_per_token=keys)
    return Workload(run, cost, size.rows * size.length, 0.0)


def dpo_cached(config: ModelConfig, size: Size) -> Workload:
    """A step of DPO with precomputed reference log-probs, as `experiments.dpo` runs."""
    model = transformer.language_model(config)
    zeros = np.zeros(size.rows // 2, np.float32)
    batch = pairs_of(config, size).with_reference(zeros, zeros)
    loss = objectives.pairwise_loss("dpo", beta=0.1)
    params = model.init(jax.random.key(0))
    run = stepper(objectives.preference(model, loss), params, batch)
    cost = 3 * flops.forward_flops(config, size.rows, size.length)
    return Workload(run, cost, size.rows * size.length, 0.0)


def dpo(config: ModelConfig, size: Size) -> Workload:
    """A step of DPO that includes the reference's forward pass over the same pairs."""
    cached = dpo_cached(config, size)
    model = transformer.language_model(config)
    frozen = model.init(jax.random.key(1))
    score = reference_cache.reference_logp_fn(model)
    batch = jax.device_put(pairs_of(config, size))

    def run() -> Any:
        jax.block_until_ready(score(frozen, batch))
        return cached.run()

    return Workload(run, cached.flops * 4 / 3, cached.tokens, 0.0)


WORKLOADS = {
    "sft": sft,
    "reward": reward,
    "reward_shared": reward_shared,
    "dpo": dpo,
    "dpo_cached": dpo_cached,
    "dpo_shared": dpo_shared,
    "generate": generate,
    "grpo": grpo,
}


def seconds(run: Callable[[], Any], *, steps: int, warmup: int = 2) -> list[float]:
    """Seconds of each timed step; warm-up steps are left out."""
    times = []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return times[warmup:]
