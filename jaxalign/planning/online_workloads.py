"""Workloads that sample: generation alone, and a whole iteration of GRPO."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import sampling
from jaxalign.batches import GroupBatch
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.pipeline import rollouts
from jaxalign.planning import flops
from jaxalign.planning.workload import Size, Workload
from jaxalign.training import forward, group_methods, objectives, optimizer, state, step


def generate(config: ModelConfig, size: Size) -> Workload:
    """Sampling from prompts, with the log-probs of the sampled tokens."""
    model = transformer.language_model(config)
    params = model.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    shape = (size.prompts, size.prompt)
    prompts = jnp.asarray(rng.integers(0, config.vocab_size, shape, dtype=np.int32))
    lengths = jnp.full(size.prompts, size.prompt, jnp.int32)

    def run() -> Any:
        return sampling.generate(
            model,
            params,
            prompts,
            lengths,
            jax.random.key(0),
            sampling.SamplingParams(max_new_tokens=size.new_tokens),
        )

    length = size.prompt + size.new_tokens
    cost = flops.forward_flops(config, size.prompts, length)
    item = jnp.dtype(config.dtype).itemsize
    cache = 2 * config.layers * config.kv_heads * config.head_dim * size.prompts
    mean_length = size.prompt + size.new_tokens / 2
    read = size.new_tokens * item * (flops.matmul_params(config) + cache * mean_length)
    return Workload(run, cost, size.prompts * size.new_tokens, read)


def grpo(config: ModelConfig, size: Size) -> Workload:
    """An iteration of GRPO: sampling, reference log-probs, and one update.

    Half as many new tokens as in `generate`, and eight answers per prompt, which share
    one copy of it in sampling and in every forward pass.
    """
    model, room = transformer.language_model(config), size.new_tokens // 2
    samples = min(8, size.prompts)
    method = group_methods.GRPO
    objective = objectives.group(
        model, method.loss, method.mean(room), kl_coef=0.04, on_policy=True
    )
    adam, frozen = optimizer.adamw(1e-6, steps=1000), model.init(jax.random.key(0))
    update = step.make_step(objective, adam)
    carry = [state.create(model.init(jax.random.key(0)), adam, jax.random.key(0))]
    rng, shape = np.random.default_rng(0), (size.prompts // samples, size.prompt)
    prompts = jnp.asarray(rng.integers(0, config.vocab_size, shape, dtype=np.int32))
    lengths = jnp.full(len(prompts), size.prompt, jnp.int32)
    policy: Any = SimpleNamespace(model=model, stop_tokens=())
    shared = rollouts.answers_per_row(config, len(prompts), samples, parts=1)

    def run() -> Any:
        params, step_number = carry[0].params, carry[0].step
        sequences, _, sampled = rollouts.sample(
            policy,
            params,
            prompts,
            lengths,
            jax.random.fold_in(jax.random.key(1), step_number),
            sampling.SamplingParams(max_new_tokens=room, samples=samples),
            row_ids=jnp.arange(size.prompts),
        )
        answers, logp = forward.pack_shared_prompts(
            sequences, sampled, answers=shared, room=room
        )
        ref_logp = rollouts.token_logps(model, frozen, answers, temperature=1.0)
        score = jnp.float32(sequences.tokens.max(axis=1))
        advantage = method.advantage(score.reshape(-1, samples)).reshape(-1)
        batch = GroupBatch(answers, logp, ref_logp, advantage)
        carry[0], metrics = update(carry[0], batch)
        return metrics["loss"]

    # once to sample, once under the reference, and three times for the update
    once = flops.forward_flops(config, len(prompts), size.prompt, head=False)
    keys = size.prompt + room / 2
    once += flops.forward_flops(config, size.prompts, room, keys_per_token=keys)
    return Workload(run, 5 * once, size.prompts * room, 0.0)
