"""SFT data from a policy's own answers: the best of several to each prompt by a reward.

Samples --samples answers to each prompt and selects the one with the highest reward; of
equal ones the first. Answers that are cut off or empty cannot be selected; prompts
without any other are left out, and counted. Writes OUT/best/train.jsonl and test.jsonl,
of training and of held-out prompts, for `experiments.sft --data OUT/best`. It is one
round of rejection sampling; `experiments.rejection_sampling` runs several.

    python -m experiments.winners --model runs/sft/policy --reward runs/reward/reward

`reward` is the mean over all answers, `best` over the winners; `true` and `true_best`
are the same by the data set's rule-based reward, if it has one. Each has its 95 %
interval over prompts, such as `train_reward_low` and `train_reward_high`.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import splits
from jaxalign.data.records import assistant_message
from jaxalign.evaluation import sample_metrics
from jaxalign.evaluation.intervals import bootstrap
from jaxalign.pipeline import datasets, policies, reward_functions, rollouts
from jaxalign.pipeline.prompts import TokenizedPrompts, cyclic_slice, select_prompts
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.runtime import jsonl
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """The best answers by a reward."""

    reward: str = "programmed"
    """The reward that selects: a reward model's folder, programmed (the data set's
    rule-based reward), or another of docs/rewards.md, such as my.py:function."""
    ensemble: str = "mean"
    """Combination of several reward models' scores: mean, minimum, variance:NUMBER, or
    llama2 (of a helpfulness and a safety model), llama2:and, llama2:or:branch."""
    prompts: int = 512
    """Training prompts to sample answers to."""
    first_prompt: int = 0
    """Index of the first of them; after the last prompt the first follows again."""
    held_out_prompts: int = 32
    """Held-out prompts, for test.jsonl."""
    samples: int = 8
    """Answers to each prompt, of which one is selected."""
    temperature: float = 1.0
    """Sampling temperature."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default the data set's."""


def main(config: Config, reward: Reward | None = None) -> dict[str, float]:
    """Samples answers and selects the best.

    Args:
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.

    Returns:
      Of each split the number of winners, and mean rewards of all and of the best.

    Raises:
      ValueError: nothing is held out, no answer can win, or bad flags.
    """
    with Run(config, "winners") as run:
        source = datasets.load(config)
        policy = policies.load(config, source, run.mesh)
        reward_fn = reward_functions.make_reward_function(
            *(reward or config.reward, config.dtype, policy, source),
            ensemble=config.ensemble,
        )
        train, held_out = source.prompts()
        datasets.check_held_out(held_out, "test.jsonl")
        run.describe_data(source.accounts())
        prompts_by_split = {
            "train": cyclic_slice(train, config.first_prompt, config.prompts),
            "test": held_out[: config.held_out_prompts],
        }
        max_new_tokens = config.max_new_tokens or source.max_new_tokens
        numbers: dict[str, float] = {}
        for name, prompts in prompts_by_split.items():
            fitting = select_prompts(policy, prompts, max_new_tokens, run.note, name)
            answers = sample_answers(config, policy, fitting, max_new_tokens, name)
            values = reward_functions.score_answers(reward_fn, answers, mesh=run.mesh)
            best = select_winners(answers, values, config.samples)
            run.note(f"{name}: {len(best)} of {len(prompts)} prompts have a winner")
            rows = [winner_row(answers, values, i) for i in best]
            jsonl.write(run.folder / "best" / f"{name}.jsonl", rows)
            rewards = {"reward": values}
            if source.reward is not None:
                rewards["true"] = source.reward(
                    answers.prompts, answers.texts, answers.finished
                )["reward"]
            metrics = {"winners": len(best)} | mean_rewards(answers, rewards, best)
            numbers |= {f"{name}_{field}": x for field, x in metrics.items()}
        return run.finish(numbers)


def mean_rewards(
    answers: rollouts.Answers, rewards: dict[str, np.ndarray], best: np.ndarray
) -> dict[str, float]:
    """Mean rewards of all answers and of the winners, with intervals over prompts.

    Args:
      rewards: "reward", and "true" if there is a rule-based one, float [R] each.
      best: indices of the winners, int [at most P].
    """
    units = splits.prompt_hashes(answers.prompts)
    numbers: dict[str, float] = {}
    for kind, values in rewards.items():
        of_all = bootstrap(values, units=units)
        of_best = bootstrap(values[best], units=units[best])
        numbers |= of_all.to_dict(kind)
        numbers |= of_best.to_dict("best" if kind == "reward" else "true_best")
    return numbers


def sample_answers(
    config: Config,
    policy: policies.Policy,
    prompts: TokenizedPrompts,
    max_new_tokens: int,
    name: str,
) -> rollouts.Answers:
    """Samples of the policy, `--samples` to each prompt.

    Args:
      name: of the split, and of the random stream.

    Raises:
      ValueError: there are no prompts.
    """
    # a prompt that comes again in a later slice gets other answers
    key = streams.key(
        jax.random.key(config.seed), f"winners {name}", config.first_prompt
    )
    return rollouts.sample_answers(
        policy,
        prompts,
        key,
        max_new_tokens=max_new_tokens,
        samples=config.samples,
        temperature=config.temperature,
    )


def select_winners(
    answers: rollouts.Answers, reward: np.ndarray, samples: int
) -> np.ndarray:
    """Index of the best answer to each prompt that has one, int [at most P].

    Args:
      reward: of each answer, float [P * samples].
      samples: answers to each prompt.

    Raises:
      ValueError: no answer can win, or a reward is not finite.
    """
    if not np.isfinite(reward).all():
        prompt = answers.prompts[int(np.argmin(np.isfinite(reward)))]
        raise ValueError(
            f"the reward of an answer to {prompt.location} is not a finite number"
        )
    can_win = answers.finished & np.array([bool(text) for text in answers.texts])
    scores = np.where(can_win, reward, -np.inf).reshape(-1, samples)
    best = np.arange(len(scores)) * samples + sample_metrics.best_index(scores)
    if not can_win[best].any():
        raise ValueError(
            "no answer ended, or all are empty, so that none can win: raise "
            "--max-new-tokens, or finetune the policy first (experiments.sft)"
        )
    return best[can_win[best]]


def winner_row(answers: rollouts.Answers, reward: np.ndarray, i: int) -> dict[str, Any]:
    """The i-th answer as a row of SFT data, with its reward."""
    prompt = answers.prompts[i]
    messages = [*prompt.messages, assistant_message(answers.texts[i])]
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    return {"messages": messages, **tools, "reward": float(reward[i])}


if __name__ == "__main__":
    launch(main, Config)
