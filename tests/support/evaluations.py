"""Evaluations with rewards by hand, for tests of tables and plots."""

import numpy as np

from jaxalign.pipeline.held_out import Evaluation


def evaluation(reward, score=None, kl=0.0, first=0, temperature=1.0):
    """An evaluation with these rewards, one answer to each prompt.

    Args:
      first: of the prompts' hashes, which are consecutive.
    """
    reward = np.array(reward, float)
    right = reward > 0
    return Evaluation(
        texts=[f"answer {x}" for x in reward],
        reward=reward,
        score=reward if score is None else np.array(score, float),
        kl=np.full(len(reward), float(kl)),
        length=np.full(len(reward), 7),
        reward_metrics={"reward": reward, "refused": right, "due": ~right}
        | {"agreed": right, "pushed": np.ones(len(reward), bool)},
        prompt=np.arange(len(reward), dtype=np.uint64) + np.uint64(2**63 + first),
        temperature=temperature,
    )


TWO_SEEDS = [
    {
        "SFT": evaluation([0, 0, 1]),
        "PPO": evaluation([1, 1, 2], kl=1.0, temperature=0.7),
    },
    {
        "SFT": evaluation([0, 1, 1], first=9),
        "PPO": evaluation([3, 4, 4], kl=2.0, first=9, temperature=0.7),
    },
]
