"""The work that is timed: one step of each algorithm on random weights and tokens.

Each work is a function that does one step and returns something to wait for, and the
floating-point operations which that step cannot do without. The sizes by default are
those of the peers' scripts: a Llama of width 256 with 4 layers, 16 rows of 256 tokens.

    python -m experiments.speed.workloads dpo      # prints one JSON line
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np

from experiments.speed.online_workloads import generate, grpo
from experiments.speed.workload import PEERS_MODEL as PEERS_MODEL
from experiments.speed.workload import Size as Size
from experiments.speed.workload import Workload as Workload
from experiments.speed.workload import stepper
from jaxalign.batches import AnswerBatch, PreferenceBatch, TokenBatch, from_lengths
from jaxalign.data import packing
from jaxalign.data.tokenize import Example, TokenRow
from jaxalign.models import heads, transformer
from jaxalign.models.config import ModelConfig
from jaxalign.planning import flops
from jaxalign.runtime import allocator
from jaxalign.training import objectives, reference_cache


def tokens_of(config: ModelConfig, rows: int, size: Size, seed: int) -> TokenBatch:
    """Random rows, trained on past their prompt."""
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
    """Random pairs of which each has its prompt once, as experiments train on them."""
    rng = np.random.default_rng(0)
    masks = np.arange(size.length) >= size.prompt
    pairs = []
    for i in range(size.rows // 2):
        drawn = rng.integers(0, config.vocab_size, (2, size.length), dtype=np.int32)
        drawn[1, : size.prompt] = drawn[0, : size.prompt]
        pairs.append(Example(tuple(TokenRow(row, masks) for row in drawn), i))
    batches = packing.answer_batches(pairs, len(pairs), seed=0)
    return cast(AnswerBatch, next(batches))


def shared_sizes(size: Size) -> tuple[int, int, float]:
    """Rows, tokens in each, and keys a token sees, of pairs that share prompts."""
    answer = size.length - size.prompt
    seen = flops.shared_prompt_keys(size.prompt, answer)
    return size.rows // 2, size.prompt + 2 * answer, seen


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
    """The same step where chosen and rejected share their prompt."""
    model = heads.scalar_model(config)
    batch = shared_pairs_of(config, size)
    run = stepper(objectives.reward(model), model.init(jax.random.key(0)), batch)
    rows, length, seen = shared_sizes(size)
    cost = 3 * flops.scalar_forward_flops(config, rows, length, keys_per_token=seen)
    return Workload(run, cost, size.rows * size.length, 0.0)


def dpo_shared(config: ModelConfig, size: Size) -> Workload:
    """The step of `dpo_kept` where chosen and rejected share their prompt."""
    model = transformer.language_model(config)
    pairs = shared_pairs_of(config, size)
    zeros = np.zeros(len(pairs.row), np.float32)
    batch = pairs.with_reference(zeros, zeros)
    loss = objectives.pairwise_loss("dpo", beta=0.1)
    params = model.init(jax.random.key(0))
    run = stepper(objectives.preference(model, loss), params, batch)
    rows, length, seen = shared_sizes(size)
    cost = 3 * flops.forward_flops(config, rows, length, keys_per_token=seen)
    return Workload(run, cost, size.rows * size.length, 0.0)


def dpo_kept(config: ModelConfig, size: Size) -> Workload:
    """A step of DPO whose reference log-probs were computed before, as ours are."""
    model = transformer.language_model(config)
    zeros = np.zeros(size.rows // 2, np.float32)
    batch = pairs_of(config, size).with_reference(zeros, zeros)
    loss = objectives.pairwise_loss("dpo", beta=0.1)
    params = model.init(jax.random.key(0))
    run = stepper(objectives.preference(model, loss), params, batch)
    cost = 3 * flops.forward_flops(config, size.rows, size.length)
    return Workload(run, cost, size.rows * size.length, 0.0)


def dpo(config: ModelConfig, size: Size) -> Workload:
    """A step of DPO, with the reference's forward pass over the same pairs."""
    kept = dpo_kept(config, size)
    model = transformer.language_model(config)
    frozen = model.init(jax.random.key(1))
    score = reference_cache.reference_logp_fn(model)
    batch = jax.device_put(pairs_of(config, size))

    def run() -> Any:
        jax.block_until_ready(score(frozen, batch))
        return kept.run()

    return Workload(run, kept.flops * 4 / 3, kept.tokens, 0.0)


WORKLOADS = {
    "sft": sft,
    "reward": reward,
    "reward_shared": reward_shared,
    "dpo": dpo,
    "dpo_kept": dpo_kept,
    "dpo_shared": dpo_shared,
    "generate": generate,
    "grpo": grpo,
}


def seconds(run: Callable[[], Any], *, steps: int, warmup: int = 2) -> list[float]:
    """The time of each step, after the warm-up ones."""
    times = []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return times[warmup:]


def main(name: str) -> None:
    """Times one work at the peers' size, and prints what their scripts print."""
    allocator.reuse_freed_memory()
    work = WORKLOADS[name](PEERS_MODEL, Size())
    times = seconds(work.run, steps=6 if name in ("generate", "grpo") else 10)
    print(
        json.dumps(
            {
                "work": name,
                "seconds_per_step": statistics.median(times),
                "fastest": min(times),
                "flops": work.flops,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
