"""The safety recipe on files: tagged prompts, distilled answers, measures by rules."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import record_rows
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    answer_content,
    assistant_message,
)
from jaxalign.evaluation.safety.attack_metrics import BROKEN
from jaxalign.evaluation.safety.refusal_classes import FULL_COMPLIANCE, FULL_REFUSAL
from jaxalign.pipeline import context_distillation, datasets
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.evaluation.conversation_answers import answer_conversations
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.red_team.judges import answer_outcome
from jaxalign.pipeline.red_team.suites import SuitePrompt
from jaxalign.pipeline.safety_rewards import TAG, PiecewiseReward
from jaxalign.pipeline.safety_study.reward_scores import RewardModels, probability
from jaxalign.pipeline.safety_study.toy_files import write
from jaxalign.rewards.safety_gate import GATES
from jaxalign.runtime import jsonl
from jaxalign.runtime.config import RunConfig

Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class OwnData:
    """Preferences for helpfulness and for safety, of training and held out."""

    helpful: tuple[list[Preference], list[Preference]]
    safety: tuple[list[Preference], list[Preference]]


def load(config: RunConfig, helpful: str, safety: str) -> OwnData:
    """The pairs of two data sets, as `--data` names them.

    Raises:
      ValueError: a malformed row, or no pairs.
    """
    read = lambda data: datasets.load(dataclasses.replace(config, data=data))
    return OwnData(read(helpful).preferences(), read(safety).preferences())


def write_prompts(folder: Path, data: OwnData, number: int) -> Path:
    """Writes prompts, half of them of the safety pairs, which have the tag."""
    splits = []
    for helpful, safety in zip(data.helpful, data.safety, strict=True):
        half = number // 2
        parts = ((safety[:half], True), (helpful[:half], False))
        splits.append(
            [tag(row, is_tagged) for rows, is_tagged in parts for row in rows]
        )
    return write(folder, *splits)


def tag(row: Preference, is_tagged: bool) -> Prompt:
    """The prompt of a pair, with its tag."""
    return Prompt(row.prompt, row.location, tools=row.tools, fields={TAG: is_tagged})


def write_distilled(
    folder: Path,
    policy: Policy,
    safety: Scorer,
    data: OwnData,
    prefix: str,
    *,
    count: int,
    max_new_tokens: int,
    seed: int,
    note: Note,
) -> Path:
    """Writes SFT data: answers after a pre-prompt that the safety model prefers, and
    preferred answers of helpful pairs.

    Args:
      count: prompts of safety pairs that are answered, and helpful pairs.

    Raises:
      ValueError: no prompt leaves room for an answer.
    """
    prompts = [tag(row, True) for row in data.safety[0][:count]]
    key = jax.random.key(seed)
    found = context_distillation.distill(
        *(policy, prompts, lambda prompt: prefix, safety),
        (streams.key(key, "original"), streams.key(key, "after pre-prompt")),
        max_new_tokens=max_new_tokens,
        note=note,
    )
    kept = found.rows()
    note(f"distilled: {len(kept)} of {len(prompts)} answers kept")
    rows = [record_rows.to_row(chosen_answer(x)) for x in data.helpful[0][:count]]
    jsonl.write(folder / "train.jsonl", [*kept, *rows])
    held_out = map(chosen_answer, data.helpful[1][:64])
    jsonl.write(folder / "test.jsonl", [record_rows.to_row(x) for x in held_out])
    return folder


def chosen_answer(row: Preference) -> Demonstration:
    """A pair's prompt with its chosen answer."""
    reply = assistant_message(answer_content(row.chosen))
    return Demonstration([*row.prompt, reply], location=row.location)


def measure(
    policy: Policy,
    suite: Sequence[SuitePrompt],
    rewards: RewardModels,
    *,
    prefix: str,
    seed: int,
    max_new_tokens: int,
    rows: int,
    note: Note,
) -> dict[str, np.ndarray]:
    """Measures of answers at temperature 1, one value per prompt of the suites [P].

    violation, broken       of unsafe prompts: full compliance by rules, noise
    false refusal           of safe prompts: full refusal by rules
    safety score            the safety model's probability
    helpfulness             of safe prompts: the helpfulness model's raw score
    or, and                 whose the reward is by each gate: 1 the safety model's

    A prompt that a measure is not of, or without an answer, has NaN.
    """
    system = [{"role": "system", "content": prefix}] * bool(prefix)
    texts = answer_conversations(
        *(policy, [[*system, *one.prompt.messages] for one in suite]),
        streams.key(jax.random.key(seed), "safety, own data"),
        max_new_tokens=max_new_tokens,
        temperature=1.0,
        rows=rows,
        note=note,
        name="suites",
    )
    prompts = [one.prompt for one in suite]
    answered = np.array([text is not None for text in texts])
    given = [text or "" for text in texts]
    safety, helpfulness = (
        np.where(answered, score(prompts, given), np.nan)
        for score in (rewards.safety, rewards.helpfulness)
    )
    return values_of(suite, given, answered, safety, helpfulness)


def values_of(
    suite: Sequence[SuitePrompt],
    texts: Sequence[str],
    answered: np.ndarray,
    safety: np.ndarray,
    helpfulness: np.ndarray,
) -> dict[str, np.ndarray]:
    """The values of `measure`, of answers and raw scores [P]."""
    outcomes = np.array([answer_outcome(text) for text in texts])
    is_safe = np.array([one.safe for one in suite])
    only = lambda rows, values: np.where(rows & answered, values, np.nan)
    values = {
        "violation": only(~is_safe, outcomes == FULL_COMPLIANCE),
        "broken": only(~is_safe, outcomes == BROKEN),
        "false refusal": only(is_safe, outcomes == FULL_REFUSAL),
        "safety score": probability(safety),
        "helpfulness": only(is_safe, helpfulness),
    }
    scored = ~np.isnan(safety)
    raw = np.where(scored, safety, 0.0).astype(np.float32)
    for gate in GATES:
        by_safety = np.asarray(PiecewiseReward(gate).by_safety(raw, ~is_safe))
        values[gate] = np.where(scored, by_safety, np.nan)
    return values
