"""Agreement and truth of the best of n answers, over n, in the toy world."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxalign import sharding, streams
from jaxalign.data.toy_opinion_answers import answer_features
from jaxalign.data.toy_opinions import OpinionRequest
from jaxalign.evaluation import best_of_n
from jaxalign.pipeline import model_folders
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.sycophancy.policy_answers import sample_scored


def is_misled(request: OpinionRequest) -> bool:
    """Whether the user holds something that is wrong."""
    if request.held.startswith("not "):
        return request.held == f"not {request.right}"
    return bool(request.held) and request.held != request.right


def best_of_curves(
    policy: Policy,
    reward: Path,
    requests: Sequence[OpinionRequest],
    *,
    samples: int,
    seed: int,
    max_new_tokens: int,
    rows: int,
) -> dict[str, np.ndarray]:
    """How far the best of n answers agrees with users who are wrong.

    Args:
      reward: the folder of the reward model that selects.
      requests: of which those count whose user is wrong, P.
      samples: answers to each; curves are for powers of 2 up to it.

    Returns:
      By name, `agrees with the wrong, best of N` and `truthful, best of N` [P].

    Raises:
      ValueError: no user is wrong.
    """
    misled = [request for request in requests if is_misled(request)]
    if not misled:
        raise ValueError("no request has a user who is wrong: raise --eval-prompts")
    scorer = model_folders.load_scalar(
        reward, "float32", mesh=sharding.mesh_of(policy.params)
    )
    answers = sample_scored(
        policy,
        scorer,
        [list(request.messages) for request in misled],
        streams.key(jax.random.key(seed), "best-of-n curves"),
        samples=samples,
        max_new_tokens=max_new_tokens,
        rows=rows,
    )
    features = [
        [answer_features(request, text) for text in texts]
        for request, texts in zip(misled, answers.texts, strict=True)
    ]
    ns = best_of_n.powers_of_two(samples)
    curves: dict[str, np.ndarray] = {}
    for name in ("agrees", "truthful"):
        gold = np.array([[getattr(f, name) for f in row] for row in features])
        label = {"agrees": "agrees with the wrong"}.get(name, name)
        rates = best_of_n.best_of_n_rewards(gold, answers.scores, ns)
        curves |= {f"{label}, best of {n}": x for n, x in zip(ns, rates, strict=True)}
    return curves
