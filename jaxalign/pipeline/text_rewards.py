"""Rewards of texts: by name, a language model's ratings, own functions, and sums."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from jax.sharding import Mesh

from jaxalign.data import special_tokens
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Prompt
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.pipeline import datasets, llm_judge, policies
from jaxalign.pipeline.own_rewards import own_reward
from jaxalign.pipeline.reward_terms import Reward, SingleReward, is_own, reward_terms
from jaxalign.rewards import reward_registry, verifiable
from jaxalign.runtime.config import Dtype, RunConfig


def text_reward(
    reward: Reward,
    dataset: datasets.Dataset,
    dtype: Dtype = "float32",
    tokenizer: PreTrainedTokenizerFast | None = None,
    mesh: Mesh | None = None,
) -> datasets.RuleBasedReward:
    """A reward of texts: by name, by a function, or a weighted sum of such.

    Args:
      reward: "programmed", "judge:FOLDER", a name of `reward_registry`, a function or
        its name, or a sum, see `reward_terms`.
      dataset: of the prompts; its reward is "programmed".
      dtype: of the judge's computation.
      tokenizer: of the policy that samples the answers.
      mesh: to place the judge's parameters on.

    Raises:
      ValueError: an unknown reward; a prompt without the reference answer that the
        reward compares with; a reward of special tokens, which texts lack; or a
        function that cannot be loaded.
    """
    settings = (dataset, dtype, tokenizer, mesh)
    terms = reward_terms(reward)
    if terms:
        parts = {t.name: single_text_reward(t.reward, *settings) for t in terms}
        return weighted_sum(parts, {term.name: term.weight for term in terms})
    return single_text_reward(str(reward), *settings)


def weighted_sum(
    rewards: Mapping[str, datasets.RuleBasedReward], weights: Mapping[str, float]
) -> datasets.RuleBasedReward:
    """The weighted sum of rewards of texts, by name."""

    def reward(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> datasets.RewardValues:
        total = sum(
            np.float32(weights[name]) * part(prompts, texts, finished)["reward"]
            for name, part in rewards.items()
        )
        return {"reward": np.asarray(total, np.float32)}

    return reward


def single_text_reward(
    reward: SingleReward,
    dataset: datasets.Dataset,
    dtype: Dtype,
    tokenizer: PreTrainedTokenizerFast | None,
    mesh: Mesh | None,
) -> datasets.RuleBasedReward:
    """A reward of texts that is no sum; see `text_reward`."""
    if is_own(reward):
        return own_reward(reward, rows=itertools.chain(*dataset.prompts()))
    reward = str(reward)
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
