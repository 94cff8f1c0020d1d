"""Scores of a reward model: held-out accuracy, and answers for its normalization."""

import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxalign import sharding, streams
from jaxalign.data import loader, readers
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.data.records import Preference
from jaxalign.data.tokenize import tokenize
from jaxalign.evaluation import intervals, preference
from jaxalign.pipeline import answer_scores, model_folders, policies, rollouts
from jaxalign.pipeline.prompts import pad_rows
from jaxalign.rewards import reward_model
from jaxalign.runtime import jsonl
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.sampling import SamplingParams
from jaxalign.types import Params, ScalarModel


def pair_scores(
    model: ScalarModel,
    params: Params,
    pairs: Sequence[Example],
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the chosen and of the rejected answers, float [pairs] each.

    Args:
      pairs: tokenized preference pairs.
    """
    mesh = sharding.mesh_of(params)
    batches = loader.evaluation_batches(pairs, batch_size, kind=Preference, mesh=mesh)
    score = jax.jit(reward_model.score, static_argnums=0)
    scores: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for batch in batches:
        batch = sharding.place_batch(batch, mesh)
        valid = sharding.to_host(batch.valid)
        for side, part in zip((batch.chosen, batch.rejected), scores, strict=True):
            part.append(sharding.to_host(score(model, params, side))[valid])
    return np.concatenate(scores[0]), np.concatenate(scores[1])


def initial_policy_scores(
    policy: policies.Policy,
    reward: tuple[ScalarModel, Params],
    train: Sequence[Example],
    *,
    count: int,
    max_new_tokens: int,
    seed: int,
    note: Callable[[str], None],
) -> np.ndarray:
    """Scores of the initial policy's answers to training prompts, float [count].

    Prompts are drawn at random, without repetition until all were drawn, and answered
    at temperature 1. Prompts that leave no room for `max_new_tokens` in the context are
    left out, and counted.

    Args:
      reward: the trained reward model, not yet normalized.
      train: tokenized pairs or rankings, whose prompts are answered.
      max_new_tokens: tokens of the longest answer.
      note: prints a line and records it in data.json, such as `Run.note`.
    """
    context = policy.config.context
    order = streams.generator(seed, "initial prompts").permutation(len(train))
    prompts = distinct_prompts(train, order, count, context - max_new_tokens, note)
    if not prompts:  # all are long: shorter answers
        prompts = distinct_prompts(train, order, count, context - 1, note)
    tokens, lengths = pad_rows(prompts, context - 1)
    max_new_tokens = min(max_new_tokens, context - tokens.shape[1])
    policy = policies.extend_longrope(policy, tokens.shape[1] + max_new_tokens)
    ids = [zlib.crc32(row.tobytes()) for row in prompts]
    sequences, _, _ = rollouts.sample(
        policy,
        policy.params,
        tokens,
        lengths,
        streams.key(jax.random.key(seed), "initial answers"),
        SamplingParams(max_new_tokens=max_new_tokens),
        row_ids=streams.answer_ids(ids, 1),
        slots=256,
    )
    sequences = jax.tree.map(sharding.to_host, sequences)
    return answer_scores.learned_scores(*reward, sequences)


def distinct_prompts(
    train: Sequence[Example],
    order: np.ndarray,
    count: int,
    limit: int,
    note: Callable[[str], None],
) -> list[np.ndarray]:
    """The tokens of `count` prompts of examples, repeated if there are fewer.

    Args:
      order: the order in which examples are visited.
      limit: tokens of the longest prompt.
    """
    distinct: dict[bytes, np.ndarray] = {}
    too_long: set[bytes] = set()
    for i in order:
        row = train[int(i)].sequences[0]
        prompt = row.tokens[: row.prompt_length].astype(np.int32)
        if len(prompt) > limit:
            too_long.add(prompt.tobytes())
        else:
            distinct.setdefault(prompt.tobytes(), prompt)
        if len(distinct) == count:
            break
    if too_long and distinct:
        note(
            f"normalization: {len(distinct)} prompts answered ({len(too_long)} longer "
            f"than {limit} tokens left out: they leave no room for an answer)"
        )
    prompts = list(distinct.values())
    return [prompts[i % len(prompts)] for i in range(count)] if prompts else []


def held_out_agreement(
    config: RunConfig, held_out: Path, reward: Path, batch: int
) -> dict[str, Any]:
    """Accuracy of a reward model on held-out preferences, beside the Bayes accuracy.

    `accuracy` is over the sampled labels, `expected` is its mean over the annotator's
    label distribution; `Bayes` is the highest that any reward model could have in
    expectation. People's labels have accuracy alone. Intervals are over prompts, of
    this one model.

    Args:
      held_out: the file of held-out pairs, as `experiments.collect` writes it.
      reward: the reward model's folder.
      batch: pairs in a batch.
    """
    rows = jsonl.read(held_out)
    pairs, _ = readers.read(held_out, Preference)
    mesh = mesh_of(config)
    with jax.set_mesh(mesh):
        model, params = model_folders.load_scalar(reward, config.dtype, mesh=mesh)
        examples, _ = tokenize(
            pairs,
            policies.configure_tokenizer(config, tokenizers.load(reward)),
            context=model.config.context,
        )
        chosen, rejected = pair_scores(model, params, examples, batch)
    agreement = preference.agreement(chosen, rejected)
    prompts = example_prompt_hashes(examples)
    interval = partial(intervals.bootstrap, units=prompts, share=True)
    found: dict[str, Any] = {"accuracy": interval(agreement)}
    if all("p_chosen" in row for row in rows):
        p = np.array([rows[example.row]["p_chosen"] for example in examples])
        found["expected"] = interval(agreement * p + (1 - agreement) * (1 - p))
        found["Bayes"] = interval(np.maximum(p, 1.0 - p))
    return found | {"pairs": len(agreement), "prompts": len(np.unique(prompts))}


def round_agreements(config: Any, out: Path) -> list[dict[str, Any]]:
    """Rows of the accuracy of each round's reward model on its held-out preferences."""
    rows = []
    for i in range(config.rounds):
        folder = jsonl.round_folder(out, i)
        row = held_out_agreement(
            config,
            folder / "collect" / "preferences" / "test.jsonl",
            folder / "reward_model" / "reward",
            config.reward_model.batch,
        )
        rows.append({"round": i + 1} | row)
    return rows
