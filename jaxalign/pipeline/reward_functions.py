"""Reward functions of sampled answers, as `--reward` names them.

programmed           the data set's rule-based reward
FOLDER               a reward model
FOLDER,FOLDER,...    an ensemble of reward models, combined as `--ensemble` says
judge:FOLDER         a language model that rates answers from 1 to 10 (direct RLAIF)
NAME, NAME:ARGUMENT  a reward of texts, see `jaxalign.rewards.reward_registry`
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxalign import messages, sharding
from jaxalign.batches import TokenBatch
from jaxalign.data import special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Prompt
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.pipeline import (
    answer_scores,
    datasets,
    llm_judge,
    model_folders,
    policies,
    rollouts,
)
from jaxalign.rewards import combination as mixtures
from jaxalign.rewards import reward_model, reward_registry, verifiable
from jaxalign.runtime.config import Dtype, RunConfig
from jaxalign.types import Array

Combination = Callable[[Array], Array]
# (prompts of this process, sequences [A T], ended [A]) -> the reward of each answer [A]
RewardFunction = Callable[[list[Prompt], TokenBatch, Array], Array]


def reward_model_folders(reward: str) -> list[Path]:
    """The folders of the reward models that `--reward` names; [] for other rewards.

    Raises:
      ValueError: a folder holds no model, and is no other name; suggests near names.
    """
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


def combination(name: str) -> Combination:
    """The function of a name from scores of M reward models [M B] to rewards [B].

    Raises:
      ValueError: an unknown name.
    """
    kind, _, coefficient = name.partition(":")
    if kind == "variance" and coefficient.replace(".", "", 1).isdigit():
        return partial(mixtures.variance_penalized_mean, coefficient=float(coefficient))
    known = {
        "mean": mixtures.ensemble_mean,
        "minimum": mixtures.ensemble_minimum,
        "llama2": llama2,
    }
    if name not in known:
        raise ValueError(
            f"--ensemble is {', '.join(known)} or variance:NUMBER, not {name!r}"
        )
    return known[name]


def llama2(scores: Array) -> Array:
    """Llama 2's reward from the raw scores of two models [2 B]; no prompt is tagged.

    The sigmoid of a raw score, before normalization, is the probability that the reward
    model was trained to predict; the threshold on safety is on that probability.

    Args:
      scores: of the helpfulness model, then of the safety model.
    """
    if len(scores) != 2:
        raise ValueError(
            "--ensemble llama2 needs two reward models, helpfulness and then safety; "
            f"--reward names {len(scores)}"
        )
    helpfulness, safety = scores
    return mixtures.piecewise_safety(helpfulness, safety, jnp.zeros(len(safety), bool))


def load_ensemble(
    folders: list[Path], dtype: str, combine: Combination, mesh: Mesh | None
) -> Callable[[TokenBatch], Array]:
    """Loads reward models as one function from sequences [B T] to rewards [B].

    Args:
      combine: of several models; `llama2` is given raw scores, other functions scores
        as normalized when the models were saved.
      mesh: to place the parameters on.
    """
    models = [model_folders.load_scalar(folder, dtype, mesh=mesh) for folder in folders]
    score = jax.jit(reward_model.score, static_argnums=0)
    if len(models) == 1:
        return partial(score, *models[0])
    scales = [reward_model.Scale(1.0, 0.0) for _ in folders]
    if combine is llama2:
        scales = [model_folders.load_scale(folder) for folder in folders]
    gain, bias = jnp.array(scales, jnp.float32).T[:, :, None]
    combined = jax.jit(lambda scores: combine((scores - bias) / gain))
    return lambda batch: combined(jnp.stack([score(*model, batch) for model in models]))


def text_reward(
    reward: str,
    dataset: datasets.Dataset,
    dtype: Dtype = "float32",
    tokenizer: PreTrainedTokenizerFast | None = None,
    mesh: Mesh | None = None,
) -> datasets.RuleBasedReward:
    """A reward of texts: the data set's own, a judge's ratings, or one by name.

    Args:
      reward: "programmed", "judge:FOLDER", or a name of `reward_registry`.
      dataset: of the prompts; its reward is "programmed".
      dtype: of the judge's computation.
      tokenizer: of the policy that samples the answers.
      mesh: to place the judge's parameters on.

    Raises:
      ValueError: an unknown reward; a prompt without the reference answer that the
        reward compares with; or a reward of special tokens, which texts lack.
    """
    if reward == "programmed":
        return dataset.require_reward()
    if reward.startswith("judge:"):
        day = tokenizers.tokenization_options(tokenizer).today if tokenizer else None
        settings = RunConfig(
            model=reward.removeprefix("judge:"),
            dtype=dtype,
            template_date=str(day or ""),
        )
        judge = policies.load(settings, dataset, mesh)
        return datasets.with_finite_check(reward, llm_rating_reward(judge))
    rule_based = datasets.reward_by_name(reward)
    if tokenizer is not None:
        check_special_tokens(reward, tokenizer)
    if reward_registry.needs_references(reward):
        for prompt in dataset.prompts()[0]:
            if not prompt.references:
                raise ValueError(
                    f"--reward {reward} compares with reference answers, and the "
                    f"prompt at {prompt.location} has none: give its row a field "
                    "'reference', or an answer"
                )
    return rule_based


def check_special_tokens(reward: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuses a reward of words that are special tokens, which decoded texts lack.

    Raises:
      ValueError: names the first of them.
    """
    words = verifiable.TAGS if reward == "format" else (reward.partition(":")[2],)
    for token in special_tokens.forbidden_tokens(tokenizer):
        if any(token in word for word in words):
            raise ValueError(
                f"--reward {reward} looks for {token}, a special token of the "
                "tokenizer, which the texts of answers do not show: add "
                "--keep-special-tokens, if it neither begins nor ends a turn"
            )


def llm_rating_reward(judge: policies.Policy) -> datasets.RuleBasedReward:
    """A judge's expected rating of each answer by itself, from 1 to 10.

    Reference: Lee et al. 2023, arXiv:2309.00267 (direct RLAIF).
    """

    def reward(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> datasets.RewardValues:
        answer_sets = [
            llm_judge.AnswerSet(prompt.messages, (text,), prompt.tools)
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        noise = np.random.default_rng  # unused: a judge that does not reason
        settings = llm_judge.JudgeSettings()
        ratings = llm_judge.rate_answers(judge, answer_sets, 10, noise, settings)
        return {"reward": np.concatenate(ratings)}

    return reward


def make_reward_function(
    reward: str,
    dtype: Dtype,
    policy: policies.Policy,
    dataset: datasets.Dataset,
    *,
    ensemble: str = "mean",
) -> RewardFunction:
    """The reward function that `--reward` and `--ensemble` name.

    Args:
      reward: see the module's table.
      dtype: of the computation of reward models and judges.
      policy: samples the answers; reward models need its vocabulary.
      dataset: of the prompts.
      ensemble: how scores of several reward models are combined, see `combination`.

    Returns:
      (prompts of this process, sequences [A T], ended [A]) -> the reward of each answer
      [A], placed as the policy's batches are.

    Raises:
      ValueError: an unknown reward, or a reward model of another vocabulary.
    """
    folders, mesh = reward_model_folders(reward), sharding.mesh_of(policy.params)
    for folder in folders:
        model_folders.check_vocabulary(folder, policy)
    if folders:
        score = load_ensemble(folders, dtype, combination(ensemble), mesh)
        return require_finite(reward, score, mesh)
    reward_of_texts = text_reward(reward, dataset, dtype, policy.tokenizer, mesh)

    def rule_based(prompts: list[Prompt], sequences: TokenBatch, ended: Array) -> Array:
        rows = jax.tree.map(sharding.to_host, (sequences, ended))
        # each of many processes scores its own rows
        local = sharding.local_rows(len(rows[1]), mesh)
        sequences, ended = jax.tree.map(lambda x: x[local], rows)
        texts = rollouts.texts(policy, sequences)
        values = reward_of_texts(prompts, texts, ended)["reward"]
        if mesh is None:
            return jnp.asarray(values)
        return sharding.place_batch(values, mesh)

    return rule_based


def require_finite(
    reward: str, score: Callable[[TokenBatch], Array], mesh: Mesh | None
) -> RewardFunction:
    """The reward function of a score of sequences, which must be finite.

    A score that is not finite raises a ValueError that names the answer's prompt.

    Args:
      reward: the name of the reward, for the error.
      score: from sequences [A T] to the reward of each [A].
    """

    def learned(prompts: list[Prompt], sequences: TokenBatch, ended: Array) -> Array:
        scores = score(sequences)
        on_host = sharding.to_host(scores)
        local = sharding.local_rows(len(on_host), mesh)
        datasets.check_finite(reward, prompts, on_host[local])
        return scores

    return learned


def score_answers(
    reward_fn: RewardFunction,
    answers: rollouts.Answers,
    *,
    mesh: Mesh | None,
    rows: int = 256,
) -> np.ndarray:
    """The reward of each answer, `rows` at a time [A].

    Args:
      reward_fn: of `make_reward_function`.
      mesh: that the rows of a batch are divided over.
    """

    def score_batch(batch: tuple[TokenBatch, np.ndarray]) -> Array:
        sequences, indices = batch
        local = indices[sharding.local_rows(len(indices), mesh)]  # as in training
        prompts = [answers.prompts[i] for i in local]
        return reward_fn(prompts, sequences, answers.finished[indices])

    every_answer = (answers.sequences, np.arange(len(answers.texts)))
    return answer_scores.map_batches(score_batch, every_answer, rows, mesh)
