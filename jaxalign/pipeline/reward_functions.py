"""What `--reward` may name: the data set's own reward, reward models, or a name.

programmed           the data set's own reward
FOLDER               a reward model
FOLDER,FOLDER,...    an ensemble of them; `--ensemble` says what their scores make
judge:FOLDER         a language model, which rates answers from 1 to 10 (direct RLAIF)
NAME, NAME:ARGUMENT  a reward of texts, see `jaxalign.rewards.reward_registry`
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerFast

from jaxalign import messages, sharding
from jaxalign.batches import TokenBatch
from jaxalign.data import special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Prompt
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
    """The reward models that `--reward` names; none where it names something else.

    Raises:
      ValueError: a folder without a model; a name that is near is suggested.
    """
    if reward == "programmed" or reward_registry.is_known(reward):
        return []
    kind, _, judge_folder = reward.partition(":")
    found = [Path(folder) for folder in reward.split(",")]
    if kind == "judge":
        found = [Path(judge_folder)]
    for folder in found:
        if not (folder / "config.json").exists():
            model = "language" if kind == "judge" else "reward"
            known = ["programmed", *reward_registry.REWARDS, "judge:FOLDER"]
            hint = messages.did_you_mean(kind, known)
            raise ValueError(
                f"--reward {reward}: {folder} holds no {model} model (no config.json), "
                f"and is none of {', '.join(known)}; {hint}"
                "python -m experiments.reward_model makes a reward model"
            )
    return [] if kind == "judge" else found


def combination(name: str) -> Combination:
    """What makes one reward of an ensemble's scores [M B], by name.

    Raises:
      ValueError: there is none.
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
    """Llama 2's reward of two models' raw scores [2 B]; no prompt is tagged.

    The sigmoid of a raw score, before normalisation, is the probability that the model
    was trained to give: it is what the threshold on safety means.
    """
    if len(scores) != 2:
        raise ValueError(
            "--ensemble llama2 is of two models, helpfulness first and then safety; "
            f"there are {len(scores)}"
        )
    helpfulness, safety = scores
    return mixtures.piecewise_safety(helpfulness, safety, jnp.zeros(len(safety), bool))


def load_ensemble(
    folders: list[Path], dtype: str, combine: Combination, mesh: Mesh | None
) -> Callable[[TokenBatch], Array]:
    """The reward of one model, or of several together: sequences -> [B].

    `llama2` combines raw scores, all others normalised ones.
    """
    models = [model_folders.load_scalar(folder, dtype, mesh=mesh) for folder in folders]
    score = jax.jit(reward_model.score, static_argnums=0)
    if len(models) == 1:
        return partial(score, *models[0])
    scales = [reward_model.Scale(1.0, 0.0) for _ in folders]
    if combine is llama2:
        scales = [model_folders.load_scale(folder) for folder in folders]
    gain, bias = jnp.array(scales, jnp.float32).T[:, :, None]
    together = jax.jit(lambda scores: combine((scores - bias) / gain))
    return lambda batch: together(jnp.stack([score(*model, batch) for model in models]))


def text_reward(
    reward: str,
    source: datasets.Dataset,
    dtype: Dtype = "float32",
    tokenizer: PreTrainedTokenizerFast | None = None,
    mesh: Mesh | None = None,
) -> datasets.RuleBasedReward:
    """The reward of texts: the data set's own, a language model's, or one by name.

    Args:
      tokenizer: of the policy whose answers it is of.
      mesh: on which a language model that rates them is placed.

    Raises:
      ValueError: there is none, or the reference answers that it needs are lacking.
    """
    if reward == "programmed":
        return source.require_reward()
    if reward.startswith("judge:"):
        day = tokenizers.tokenization_options(tokenizer).today if tokenizer else None
        settings = RunConfig(
            model=reward.removeprefix("judge:"),
            dtype=dtype,
            template_date=str(day or ""),
        )
        model = policies.load(settings, source, mesh)
        return datasets.with_finite_check(reward, llm_rating_reward(model))
    found = datasets.reward_by_name(reward)
    if tokenizer is not None:
        check_special_tokens(reward, tokenizer)
    if reward_registry.needs_references(reward):
        for prompt in source.prompts()[0]:
            if not prompt.references:
                raise ValueError(
                    f"--reward {reward} compares with reference answers, and the "
                    f"prompt at {prompt.location} has none: give its row a field "
                    "'reference', or an answer"
                )
    return found


def check_special_tokens(reward: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuses a reward of words that are special tokens, which texts do not show.

    Raises:
      ValueError: names the first of them.
    """
    read = verifiable.TAGS if reward == "format" else (reward.partition(":")[2],)
    for token in special_tokens.forbidden_tokens(tokenizer):
        if any(token in text for text in read):
            raise ValueError(
                f"--reward {reward} looks for {token}, a special token of the "
                "tokenizer, which the texts of answers do not show: add "
                "--keep-special-tokens, if it neither begins nor ends a turn"
            )


def llm_rating_reward(model: policies.Policy) -> datasets.RuleBasedReward:
    """What a language model expects to rate each answer by itself, from 1 to 10.

    Reference: Lee et al. 2023, arXiv:2309.00267 (direct RLAIF).
    """

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> datasets.RewardValues:
        answered = [
            llm_judge.AnswerSet(prompt.messages, (text,), prompt.tools)
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        noise = np.random.default_rng  # nothing is thought, nothing drawn
        ratings = llm_judge.rate_answers(
            model, answered, 10, noise, llm_judge.JudgeSettings()
        )
        return {"reward": np.concatenate(ratings)}

    return judge


def make_reward_function(
    reward: str,
    dtype: Dtype,
    policy: policies.Policy,
    source: datasets.Dataset,
    *,
    ensemble: str = "mean",
) -> RewardFunction:
    """The reward: a function of prompts, sequences and whether they ended -> [B].

    Args:
      reward, ensemble: what the flags of that name say, see the top.

    Raises:
      ValueError: no such reward, or a reward model of another vocabulary.
    """
    models, mesh = reward_model_folders(reward), sharding.mesh_of(policy.params)
    for folder in models:
        model_folders.check_vocabulary(folder, policy)
    if models:
        return require_finite(
            reward, load_ensemble(models, dtype, combination(ensemble), mesh), mesh
        )
    judged_by = text_reward(reward, source, dtype, policy.tokenizer, mesh)

    def programmed(prompts: list[Prompt], sequences: TokenBatch, ended: Array) -> Array:
        whole = jax.tree.map(sharding.to_host, (sequences, ended))
        # of many processes each judges its own rows
        mine = sharding.local_rows(len(whole[1]), mesh)
        rows, told = jax.tree.map(lambda x: x[mine], whole)
        found = judged_by(prompts, rollouts.texts(policy, rows), told)["reward"]
        return jnp.asarray(found) if mesh is None else sharding.place_batch(found, mesh)

    return programmed


def require_finite(
    reward: str, score: Callable[[TokenBatch], Array], mesh: Mesh | None
) -> RewardFunction:
    """What models learned as a reward, which stops the run where it is not finite."""

    def learned(prompts: list[Prompt], sequences: TokenBatch, ended: Array) -> Array:
        found = score(sequences)
        whole = sharding.to_host(found)
        mine = sharding.local_rows(len(whole), mesh)
        datasets.check_finite(reward, prompts, whole[mine])
        return found

    return learned


def score_answers(
    score: RewardFunction,
    answers: rollouts.Answers,
    *,
    mesh: Mesh | None,
    rows: int = 256,
) -> np.ndarray:
    """The reward of each answer [R], by what `make_reward_function` gives."""

    def part(told: tuple[TokenBatch, np.ndarray]) -> Array:
        sequences, at = told
        mine = at[sharding.local_rows(len(at), mesh)]  # as in training
        prompts = [answers.prompts[i] for i in mine]
        return score(prompts, sequences, answers.finished[at])

    index = np.arange(len(answers.texts))
    return answer_scores.map_batches(part, (answers.sequences, index), rows, mesh)
