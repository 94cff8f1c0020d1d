"""The rewards of a rollout: their sum, each by its name, and the scores to train on."""

from typing import NamedTuple

from jaxalign.pipeline import online, reward_sums
from jaxalign.types import Array


class Scores(NamedTuple):
    """The rewards of an iteration's answers.

    Attributes:
      reward: the reward of each answer, as the reward function returns it [A].
      score: what advantages are computed from: the same, or the sum of the normalized
        rewards [A].
      by_name: the terms of a sum, before weights and normalization [A] each; {} for a
        reward that is no sum.
    """

    reward: Array
    score: Array
    by_name: dict[str, Array]

    def metrics(self) -> dict[str, Array]:
        """Mean and sample standard deviation over the answers of each term of a sum.

        Their names are TRL's: rewards/NAME/mean, rewards/NAME/std.
        """
        metrics = {}
        for name, values in self.by_name.items():
            metrics[f"rewards/{name}/mean"] = values.mean()
            metrics[f"rewards/{name}/std"] = values.std(ddof=min(1, len(values) - 1))
        return metrics


def score_rollout(setup: online.RolloutSetup, rollout: online.Rollout) -> Scores:
    """The rewards of a rollout's answers, and the scores to train on.

    What was dispatched to the device before runs beside rewards of texts, which may be
    slow: so the loops compute log-probs first.
    """
    reward_fn = setup.reward_fn
    answers = (rollout.prompts, rollout.sequences, rollout.ended)
    if isinstance(reward_fn, reward_sums.RewardSum):
        by_name, weights = reward_fn.values(*answers), reward_fn.weights
        reward = reward_sums.weighted_sum(by_name, weights)
    else:
        by_name, weights = {}, {"reward": 1.0}
        reward = reward_fn(*answers)
    if setup.reward_normalization == "none":
        return Scores(reward, reward, by_name)
    grouped = setup.reward_normalization == "group"
    size = setup.prompt_batches.samples if grouped else len(reward)
    normalized = {
        name: reward_sums.normalize(values, size=size)
        for name, values in (by_name or {"reward": reward}).items()
    }
    return Scores(reward, reward_sums.weighted_sum(normalized, weights), by_name)


def reward_metrics(reward: Array, ended: Array) -> dict[str, Array]:
    """Mean and deviation of rewards [A]; shares of answers that ended, and did not."""
    metrics = {"reward": reward.mean(), "reward_std": reward.std()}
    return metrics | ended_metrics(ended)


def ended_metrics(ended: Array) -> dict[str, Array]:
    """Shares of answers that ended, and that were cut."""
    eos = ended.mean()
    return {"eos": eos, "truncated": 1.0 - eos}
