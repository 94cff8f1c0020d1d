"""The best of several answers to each prompt, by a reward: demonstrations to imitate.

Samples --samples answers to each prompt, and keeps the one that the reward likes best;
of equals, the first. What did not end or says nothing cannot win; prompts that nothing
wins are left out, and counted. Writes OUT/best/train.jsonl and test.jsonl, of training
prompts and of held-out ones, which `experiments.sft --data OUT/best` reads. One round
of rejection sampling; `experiments.rejection_sampling` makes several.

    python -m experiments.winners --model runs/sft/policy --reward runs/reward/reward

`reward` is the mean over all answers, `best` over the winners; `true` and `true_best`
are the same by the data set's programmed reward, where it has one. Each has its 95 %
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
from jaxalign.runtime import jsonl
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.run import Run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """The best answers, by a reward."""

    reward: str = "programmed"
    """What chooses: a reward model's folder, programmed, or another of
    `jaxalign.pipeline.reward_functions`, such as length:40."""
    prompts: int = 512
    """Training prompts to sample answers to."""
    first_prompt: int = 0
    """The one to begin with; after the last comes the first again."""
    held_out_prompts: int = 32
    """Held-out prompts, for test.jsonl."""
    samples: int = 8
    """Answers to a prompt, of which one wins."""
    temperature: float = 1.0
    """Of the sampling."""
    max_new_tokens: int | None = None
    """Longest answer; by default what the data set suggests."""


def main(config: Config) -> dict[str, float]:
    """Samples and chooses; returns how many won, and what they are worth."""
    with Run(config, "winners") as run:
        source = datasets.load(config)
        policy = policies.load(config, source, run.mesh)
        score = reward_functions.make_reward_function(
            config.reward, config.dtype, policy, source
        )
        train, held_out = source.prompts()
        datasets.check_held_out(held_out, "test.jsonl")
        run.describe_data(source.accounts())
        asked = {
            "train": cyclic_slice(train, config.first_prompt, config.prompts),
            "test": held_out[: config.held_out_prompts],
        }
        numbers: dict[str, float] = {}
        for name, prompts in asked.items():
            room = config.max_new_tokens or source.max_new_tokens
            fitting = select_prompts(policy, prompts, room, run.note, name)
            answers = sample_answers(config, policy, fitting, room, f"winners {name}")
            reward = reward_functions.score_answers(score, answers, mesh=run.mesh)
            best = select_winners(answers, reward, config.samples)
            run.note(f"{name}: {len(best)} of {len(prompts)} prompts have a winner")
            written = [winner_row(answers, reward, at) for at in best]
            jsonl.write(run.folder / "best" / f"{name}.jsonl", written)
            worth = {"reward": reward}
            units = splits.prompt_hashes(answers.prompts)
            if source.reward is not None:
                judged = source.reward(answers.prompts, answers.texts, answers.finished)
                worth["true"] = judged["reward"]
            numbers[f"{name}_winners"] = len(best)
            for kind, values in worth.items():
                top = "best" if kind == "reward" else "true_best"
                over = bootstrap(values, units=units)
                over_best = bootstrap(values[best], units=units[best])
                numbers |= over.to_dict(f"{name}_{kind}")
                numbers |= over_best.to_dict(f"{name}_{top}")
        return run.finish(numbers)


def sample_answers(
    config: Config,
    policy: policies.Policy,
    prompts: TokenizedPrompts,
    room: int,
    stream: str,
) -> rollouts.Answers:
    """Answers to the prompts, of `room` tokens at most.

    Raises:
      ValueError: there is no prompt.
    """
    # of prompts that come again, after all others, other answers
    key = streams.key(jax.random.key(config.seed), stream, config.first_prompt)
    return rollouts.sample_answers(
        policy,
        prompts,
        key,
        max_new_tokens=room,
        samples=config.samples,
        temperature=config.temperature,
    )


def select_winners(
    answers: rollouts.Answers, reward: np.ndarray, samples: int
) -> np.ndarray:
    """Which answer wins each prompt that one can win [at most P], of rewards [R].

    Raises:
      ValueError: nothing can win, or a reward is not finite.
    """
    if not np.isfinite(reward).all():
        where = answers.prompts[int(np.argmin(np.isfinite(reward)))].location
        raise ValueError(f"the reward of an answer to {where} is not a finite number")
    able = answers.finished & np.array([bool(text) for text in answers.texts])
    worth = np.where(able, reward, -np.inf).reshape(-1, samples)
    at = np.arange(len(worth)) * samples + sample_metrics.best_index(worth)
    if not able[at].any():
        raise ValueError(
            "no answer ended, or all are empty, so that none can win: raise "
            "--max-new-tokens, or finetune the policy first (experiments.sft)"
        )
    return at[able[at]]


def winner_row(
    answers: rollouts.Answers, reward: np.ndarray, at: int
) -> dict[str, Any]:
    """A winner as a demonstration."""
    prompt = answers.prompts[at]
    messages = [*prompt.messages, assistant_message(answers.texts[at])]
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    return {"messages": messages, **tools, "reward": float(reward[at])}


if __name__ == "__main__":
    launch(main, Config)
