"""Reward functions of sampled answers, as `--reward` names them.

programmed           the data set's rule-based reward
FOLDER               a reward model
FOLDER,FOLDER,...    an ensemble of reward models, combined as `--ensemble` says
judge:FOLDER         a language model that rates answers from 1 to 10 (direct RLAIF)
NAME, NAME:ARGUMENT  a reward of texts, see `jaxalign.rewards.reward_registry`
FILE.py:FUNCTION, PACKAGE.MODULE:FUNCTION
                     a function of one's own, see `jaxalign.pipeline.own_rewards`
REWARD=WEIGHT,...    their weighted sum, see `jaxalign.pipeline.reward_terms`
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxalign import messages, sharding
from jaxalign.batches import TokenBatch
from jaxalign.data.records import Prompt
from jaxalign.pipeline import (
    answer_scores,
    datasets,
    model_folders,
    policies,
    rollouts,
    safety_rewards,
)
from jaxalign.pipeline.reward_sums import RewardFunctions, RewardSum, weighted_sum
from jaxalign.pipeline.reward_terms import Reward, is_own, reward_terms
from jaxalign.pipeline.safety_rewards import PiecewiseReward
from jaxalign.pipeline.text_rewards import single_text_reward
from jaxalign.rewards import combination as mixtures
from jaxalign.rewards import reward_model, reward_registry
from jaxalign.runtime.config import Dtype
from jaxalign.types import Array

Combination = Callable[[Array], Array]
# (prompts of this process, sequences [A T], ended [A]) -> the reward of each answer [A]
RewardFunction = Callable[[list[Prompt], TokenBatch, Array], Array]


def reward_model_folders(reward: Reward) -> list[Path]:
    """The folders of the reward models that `--reward` names; [] for other rewards.

    Raises:
      ValueError: a folder holds no model, and is no other name; suggests near names.
    """
    if terms := reward_terms(reward):
        parts = [str(term.reward) for term in terms if not is_own(term.reward)]
        return [folder for part in parts for folder in model_folders_of(part)]
    return model_folders_of(str(reward))


def check_reward(reward: Reward, dataset: datasets.Dataset) -> None:
    """Refuses a reward that cannot score answers to a data set's prompts.

    Called before anything is computed; no model is loaded.

    Raises:
      ValueError: an unknown reward, a file or function that does not exist, or rows
        without what the reward needs.
    """
    singles = [term.reward for term in reward_terms(reward)] or [str(reward)]
    for single in singles:
        is_judge = isinstance(single, str) and single.startswith("judge:")
        if is_own(single) or not (model_folders_of(str(single)) or is_judge):
            single_text_reward(single, dataset, "float32", None, None)


def model_folders_of(reward: str) -> list[Path]:
    """The folders of a reward that is neither a sum nor a function."""
    if reward == "programmed" or reward_registry.is_known(reward):
        return []
    kind, _, judge_folder = reward.partition(":")
    folders = [Path(folder) for folder in reward.split(",")]
    if kind == "judge":
        folders = [Path(judge_folder)]
    for folder in folders:
        if not (folder / "config.json").exists():
            model = "language" if kind == "judge" else "reward"
            known = ["programmed", *reward_registry.REWARDS, "judge:FOLDER"]
            hint = messages.did_you_mean(kind, known)
            raise ValueError(
                f"--reward {reward}: {folder} holds no {model} model (no config.json), "
                f"and is none of {', '.join(known)}; {hint}"
                "python -m experiments.reward_model makes a reward model"
            )
    return [] if kind == "judge" else folders


def combination(name: str) -> Combination | PiecewiseReward:
    """The function of a name from scores of M reward models [M B] to rewards [B].

    That of llama2 is also of the prompts' tags, bool [B].

    Raises:
      ValueError: an unknown name.
    """
    kind, _, coefficient = name.partition(":")
    if kind == "variance" and coefficient.replace(".", "", 1).isdigit():
        return partial(mixtures.variance_penalized_mean, coefficient=float(coefficient))
    if piecewise := safety_rewards.parse(name):
        return piecewise
    known = {
        "mean": mixtures.ensemble_mean,
        "minimum": mixtures.ensemble_minimum,
    }
    if name not in known:
        raise ValueError(
            f"--ensemble is {', '.join(known)}, llama2 or variance:NUMBER, not {name!r}"
        )
    return known[name]


def load_ensemble(
    folders: list[Path],
    dtype: str,
    combine: Combination | PiecewiseReward,
    mesh: Mesh | None,
) -> Callable[..., Array]:
    """Loads reward models as one function from sequences [B T] to rewards [B].

    Args:
      combine: of several models; a `PiecewiseReward` is given raw scores, and the
        function takes the prompts' tags [B] as a second argument (without it no prompt
        is tagged); others are given scores as normalized when the models were saved.
      mesh: to place the parameters on.
    """
    models = [model_folders.load_scalar(folder, dtype, mesh=mesh) for folder in folders]
    score = jax.jit(reward_model.score, static_argnums=0)
    if len(models) == 1:
        return partial(score, *models[0])
    if not isinstance(combine, PiecewiseReward):
        stacked = jax.jit(combine)
        return lambda batch: stacked(jnp.stack([score(*m, batch) for m in models]))
    scales = [model_folders.load_scale(folder) for folder in folders]
    gain, bias = jnp.array(scales, jnp.float32).T[:, :, None]
    combined = jax.jit(lambda scores, tags: combine((scores - bias) / gain, tags))

    def piecewise(batch: TokenBatch, tags: Array | None = None) -> Array:
        scores = jnp.stack([score(*model, batch) for model in models])
        return combined(
            scores, jnp.zeros(scores.shape[1], bool) if tags is None else tags
        )

    return piecewise


def make_reward_function(
    reward: Reward,
    dtype: Dtype,
    policy: policies.Policy,
    dataset: datasets.Dataset,
    *,
    ensemble: str = "mean",
) -> RewardFunction:
    """The reward function that `--reward` and `--ensemble` name.

    Args:
      reward: see the module's table; or functions, see `reward_terms.Reward`.
      dtype: of the computation of reward models and judges.
      policy: samples the answers; reward models need its vocabulary.
      dataset: of the prompts.
      ensemble: how scores of several reward models are combined, see `combination`.

    Returns:
      (prompts of this process, sequences [A T], ended [A]) -> the reward of each answer
      [A], placed as the policy's batches are; a `RewardSum` for functions and sums.

    Raises:
      ValueError: an unknown reward, or a reward model of another vocabulary.
    """
    mesh = sharding.mesh_of(policy.params)
    terms = reward_terms(reward)
    singles = {t.name: t.reward for t in terms} or {"reward": str(reward)}
    learned: dict[str, RewardFunction] = {}
    of_texts: dict[str, datasets.RuleBasedReward] = {}
    for name, single in singles.items():
        folders = [] if is_own(single) else model_folders_of(str(single))
        for folder in folders:
            model_folders.check_vocabulary(folder, policy)
        if folders:
            combine = combination(ensemble)
            score = load_ensemble(folders, dtype, combine, mesh)
            tagged = len(folders) > 1 and isinstance(combine, PiecewiseReward)
            learned[name] = require_finite(str(single), score, mesh, tagged=tagged)
        else:
            of_texts[name] = single_text_reward(
                single, dataset, dtype, policy.tokenizer, mesh
            )
    texts = score_texts(of_texts, policy, mesh)
    if terms:
        return RewardSum({t.name: t.weight for t in terms}, learned, texts)
    if learned:
        return learned["reward"]
    return lambda *answers: texts(*answers)["reward"]


def score_texts(
    rewards: Mapping[str, datasets.RuleBasedReward],
    policy: policies.Policy,
    mesh: Mesh | None,
) -> RewardFunctions:
    """Rewards of texts as functions of sampled tokens, which are decoded once.

    Each of many processes scores its own rows.
    """

    def score(
        prompts: list[Prompt], sequences: TokenBatch, ended: Array
    ) -> dict[str, Array]:
        if not rewards:
            return {}
        rows = jax.tree.map(sharding.to_host, (sequences, ended))
        local = sharding.local_rows(len(rows[1]), mesh)
        sequences, ended = jax.tree.map(lambda x: x[local], rows)
        texts = rollouts.texts(policy, sequences)
        values = {
            name: reward(prompts, texts, ended)["reward"]
            for name, reward in rewards.items()
        }
        if mesh is None:
            return {name: jnp.asarray(value) for name, value in values.items()}
        return {k: sharding.place_batch(value, mesh) for k, value in values.items()}

    return score


def require_finite(
    reward: str, score: Callable[..., Array], mesh: Mesh | None, *, tagged: bool = False
) -> RewardFunction:
    """The reward function of a score of sequences, which must be finite.

    A score that is not finite raises a ValueError that names the answer's prompt.

    Args:
      reward: the name of the reward, for the error.
      score: from sequences [A T] to the reward of each [A].
      tagged: whether `score` takes the prompts' tags too, see `safety_rewards`.
    """

    def learned(prompts: list[Prompt], sequences: TokenBatch, ended: Array) -> Array:
        if tagged:
            scores = score(sequences, place_tags(prompts, mesh))
        else:
            scores = score(sequences)
        on_host = sharding.to_host(scores)
        local = sharding.local_rows(len(on_host), mesh)
        datasets.check_finite(reward, prompts, on_host[local])
        return scores

    return learned


def place_tags(prompts: list[Prompt], mesh: Mesh | None) -> Array:
    """The tags of this process's prompts, placed as the rows of a batch are [A]."""
    tags = safety_rewards.tags(prompts)
    return jnp.asarray(tags) if mesh is None else sharding.place_batch(tags, mesh)


def score_answers(
    reward_fn: RewardFunction,
    answers: rollouts.Answers,
    *,
    mesh: Mesh | None,
    rows: int = 256,
) -> np.ndarray:
    """The reward of each answer, `rows` at a time [A]; Args as of `score_terms`."""
    return score_terms(reward_fn, answers, mesh=mesh, rows=rows)["reward"]


def score_terms(
    reward_fn: RewardFunction,
    answers: rollouts.Answers,
    *,
    mesh: Mesh | None,
    rows: int = 256,
) -> dict[str, np.ndarray]:
    """`reward` of each answer, and of a `RewardSum` each term as rewards/NAME [A].

    Args:
      reward_fn: of `make_reward_function`.
      mesh: that the rows of a batch are divided over.
    """
    names = ["reward"]
    if isinstance(reward_fn, RewardSum):
        names += [f"rewards/{name}" for name in reward_fn.weights]

    def score_batch(batch: tuple[TokenBatch, np.ndarray]) -> Array:
        sequences, indices = batch
        local = indices[sharding.local_rows(len(indices), mesh)]  # as in training
        prompts = [answers.prompts[i] for i in local]
        ended = answers.finished[indices]
        if not isinstance(reward_fn, RewardSum):
            return reward_fn(prompts, sequences, ended)[:, None]
        values = reward_fn.values(prompts, sequences, ended)
        total = weighted_sum(values, reward_fn.weights)
        return jnp.stack([total, *values.values()], axis=1)

    every_answer = (answers.sequences, np.arange(len(answers.texts)))
    scores = answer_scores.map_batches(score_batch, every_answer, rows, mesh)
    return dict(zip(names, scores.T, strict=True))
