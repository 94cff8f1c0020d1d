"""Every objective there is, with parameters and a batch: what meshes may not change.

Groups whose answers share rows are in test_shared_groups.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import batches
from jaxalign.data import packing
from jaxalign.data.examples import Example, TokenRow
from jaxalign.models import heads, transformer
from jaxalign.models.config import ModelConfig
from jaxalign.training import group_methods, objectives

CONFIG = ModelConfig(
    vocab_size=16,
    width=16,
    hidden=32,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=8,
    context=12,
    rope_theta=1e4,
    norm_eps=1e-5,
    tied=False,
    dtype="float32",
    param_dtype="float32",
    remat="none",
)
ROWS = 16

REWARDS = ("reward", "reward_answers", "ranking")
POLICIES = ("ppo", "ppo_ptx", "group")
PAIRS = (*objectives.PAIRWISE_LOSSES, "dpo_answers")
NAMES = ("sft", *REWARDS, "kto", *POLICIES, *PAIRS)


class Case(NamedTuple):
    """An objective, and what a step of it is given.

    Attributes:
      specs: of the parameters.
      fixed: what the objective takes besides: parameters, cut by the same specs, and
        numbers.
      parts: whether the batch may be cut into micro-batches.
    """

    objective: Any
    params: Any
    specs: Any
    batch: Any
    fixed: tuple[Any, ...] = ()
    parts: bool = True


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def shared(answers: int) -> batches.AnswerBatch:
    """Prompts of 1 to 3 tokens with 2 to `answers` answers of 1 to 6, packed."""
    rng = np.random.default_rng(2)
    made = []
    for i in range(4 * ROWS):
        asked = rng.integers(0, 16, rng.integers(1, 4))
        told = [rng.integers(0, 16, n) for n in rng.integers(1, 7, 2 + i % answers)]
        rows = [np.concatenate([asked, x]).astype(np.int32) for x in told[:answers]]
        sequences = tuple(TokenRow(x, np.arange(len(x)) >= len(asked)) for x in rows)
        made.append(Example(sequences, i, 0.25 * (i % 4)))
    return next(packing.answer_batches(made, 2 * ROWS, seed=0, multiple=ROWS))


def make_case(name: str, rows, pairs, unpaired, *, config=CONFIG) -> Case:
    """The case of that name, of rows, pairs or single answers of unequal length."""
    model, scalar = transformer.language_model(config), heads.scalar_model(config)
    params = jax.jit(model.init)(jax.random.key(0))
    values = jax.jit(scalar.init)(jax.random.key(3))
    of_policy, of_scores = (params, model.specs()), (values, scalar.specs())
    if name == "sft":
        return Case(objectives.sft(model), *of_policy, rows(ROWS))
    if name in REWARDS:
        objective = objectives.reward(scalar)
        return {
            "reward": lambda: Case(objective, *of_scores, pairs(ROWS)),
            "reward_answers": lambda: Case(objective, *of_scores, shared(2)),
            "ranking": lambda: Case(objectives.ranking(scalar), *of_scores, shared(4)),
        }[name]()
    if name == "kto":
        sums = -20 + 5 * noise(2, ROWS)
        batch = unpaired(ROWS).with_reference(*sums)
        return Case(objectives.kto(model, beta=0.1), *of_policy, batch)
    if name in POLICIES:
        return rollout_case(name, model, scalar, of_policy, of_scores, rows)
    return pair_case(name, model, of_policy, pairs)


def rollout_case(name, model, scalar, of_policy, of_scores, rows) -> Case:
    sequences = rows(ROWS)
    several = [noise(*sequences.tokens.shape, seed=i) for i in range(4)]
    if name == "group":
        mean = group_methods.GRPO.mean(CONFIG.context)
        objective = objectives.group(model, group_methods.GRPO.loss, mean, kl_coef=0.1)
        logps = [-2.8 + 0.1 * x for x in several[:2]]
        batch = batches.GroupBatch(sequences, *logps, several[2][:, 0])
        return Case(objective, *of_policy, batch)
    logp, *others = several
    batch = batches.RolloutBatch(sequences, -2.8 + 0.1 * logp, *others)
    objective = objectives.ppo(model, scalar, entropy_coef=0.01)
    both = zip(of_policy, of_scores, strict=True)
    params, specs = ({"policy": mine, "value": its} for mine, its in both)
    if name == "ppo_ptx":
        objective = objectives.with_ptx(objective, model, ptx_coef=0.5)
        batch = objectives.mix_batches(batch, rows(ROWS, seed=4))
    return Case(objective, params, specs, batch)


def pair_case(name, model, of_policy, pairs) -> Case:
    loss = objectives.get_loss(name.removesuffix("_answers"))
    objective = objectives.preference(model, loss)
    batch = pairs(ROWS) if loss.name == name else shared(2)
    if loss.needs_reference_distribution:
        other = jax.jit(model.init)(jax.random.key(7))
        return Case(objective, *of_policy, batch, (other,))
    if loss.needs_reference:
        sums = -20 + 5 * noise(4, *batch.margin.shape)
        batch = batch.with_reference(*sums)
    fixed = (None, jnp.float32(0.5)) if loss.needs_reward_shift else ()
    return Case(objective, *of_policy, batch, fixed, parts=not loss.couples_batch)
