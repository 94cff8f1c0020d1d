"""A policy as the speaker of the protocols, and as the judge of comments."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxalign import sharding, streams
from jaxalign.data.records import Messages, Prompt
from jaxalign.evaluation.sycophancy import grading
from jaxalign.evaluation.sycophancy import protocol_metrics as metrics
from jaxalign.pipeline import answer_scores, llm_judge, model_folders, rollouts
from jaxalign.pipeline.evaluation import conversation_answers
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.pipeline.sycophancy import prompts
from jaxalign.pipeline.sycophancy.items import Opinion
from jaxalign.pipeline.sycophancy.protocols import (
    Confidence,
    PositivityJudge,
    ProtocolResult,
    Speaker,
    user,
    with_grades,
)
from jaxalign.types import Key, Params, ScalarModel

Note = Callable[[str], None]
OPTION_ROOM = 8  # tokens of the longest option


def policy_speaker(
    policy: Policy,
    *,
    seed: int,
    max_new_tokens: int,
    temperature: float,
    rows: int,
    note: Note,
) -> Speaker:
    """A policy that answers conversations; notes those that leave no room.

    An answer depends on the seed, the stream's name and its conversation alone.
    """

    def speak(conversations: Sequence[Messages], stream: str) -> list[str | None]:
        return conversation_answers.answer_conversations(
            policy,
            conversations,
            streams.key(jax.random.key(seed), stream),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            rows=rows,
            note=note,
            name=stream,
        )

    return speak


def best_of_speaker(
    policy: Policy,
    reward: Path,
    *,
    samples: int,
    seed: int,
    max_new_tokens: int,
    rows: int,
) -> Speaker:
    """The best of several sampled answers by a reward model.

    Args:
      reward: the folder of the reward model.

    Conversations that leave no room for an answer get None.
    """
    mesh = sharding.mesh_of(policy.params)
    scorer = model_folders.load_scalar(reward, "float32", mesh=mesh)

    def speak(conversations: Sequence[Messages], stream: str) -> list[str | None]:
        fits = fitting(policy, conversations, max_new_tokens)
        some = [i for i, fit in enumerate(fits) if fit]
        best: list[str | None] = [None] * len(conversations)
        if not some:
            return best
        answers = sample_scored(
            policy,
            scorer,
            [conversations[i] for i in some],
            streams.key(jax.random.key(seed), stream),
            samples=samples,
            max_new_tokens=max_new_tokens,
            rows=rows,
        )
        winners = answers.scores.argmax(axis=1)
        for i, texts, k in zip(some, answers.texts, winners, strict=True):
            best[i] = texts[k]
        return best

    return speak


class ScoredAnswers(NamedTuple):
    """Answers to conversations, with their scores.

    Attributes:
      texts: [C][N].
      scores: of a reward model [C N].
    """

    texts: list[list[str]]
    scores: np.ndarray


def sample_scored(
    policy: Policy,
    scorer: tuple[ScalarModel, Params],
    conversations: Sequence[Messages],
    key: Key,
    *,
    samples: int,
    max_new_tokens: int,
    rows: int,
) -> ScoredAnswers:
    """Several answers to each conversation at temperature 1, and their scores."""
    tokens = tokenize_prompts(policy, [Prompt(list(talk)) for talk in conversations])
    answers = rollouts.sample_answers(
        policy,
        tokens,
        key,
        max_new_tokens=max_new_tokens,
        samples=samples,
        rows=rows,
    )
    scores = answer_scores.learned_scores(*scorer, answers.sequences, rows=rows)
    texts = [
        answers.texts[i : i + samples] for i in range(0, len(answers.texts), samples)
    ]
    return ScoredAnswers(texts, scores.reshape(-1, samples))


def likelihood_speaker(policy: Policy, speak: Speaker, *, rows: int) -> Speaker:
    """The most likely letter where a conversation asks for one; else as `speak`.

    For models that do not keep to the form of an answer. A reply to a doubt, which
    comes between two questions, is as `speak` says.
    """

    def choose(conversations: Sequence[Messages], stream: str) -> list[str | None]:
        if stream.endswith(": doubt"):
            return speak(conversations, stream)
        texts: list[str | None] = [None] * len(conversations)
        counts = option_counts(conversations)
        logps = letter_logps(policy, conversations, rows=rows)
        free = [i for i, count in enumerate(counts) if count < 2]
        answers = speak([conversations[i] for i in free], stream) if free else []
        for i, text in zip(free, answers, strict=True):
            texts[i] = text
        for i, logp in logps.items():
            texts[i] = f"({prompts.LETTERS[int(logp.argmax())]})"
        return texts

    return choose


def option_counts(conversations: Sequence[Messages]) -> list[int]:
    """The number of lettered options in the first message of each conversation."""
    pattern = re.compile(r"^\([A-H]\) ", flags=re.MULTILINE)
    return [len(pattern.findall(talk[0]["content"])) for talk in conversations]


def letter_logps(
    policy: Policy, conversations: Sequence[Messages], *, rows: int
) -> dict[int, np.ndarray]:
    """Log-probs of the letters, by the number of the conversation.

    Those without two options or without room are left out.
    """
    fits = fitting(policy, conversations, OPTION_ROOM)
    counts = option_counts(conversations)
    found: dict[int, np.ndarray] = {}
    for count in sorted(set(counts)):
        some = [i for i, n in enumerate(counts) if n == count and fits[i]]
        if count < 2 or not some:
            continue
        logps = llm_judge.option_logprobs(
            policy,
            [conversations[i] for i in some],
            [f"({x})" for x in prompts.LETTERS[:count]],
            batch_size=rows,
        )
        found |= dict(zip(some, logps, strict=True))
    return found


def letter_confidence(policy: Policy, *, rows: int) -> Confidence:
    """The probability of each answer's letter among its question's options.

    NaN where a question has no options, or an answer no letter of them.
    """

    def confidence(
        questions: Sequence[Messages], answers: Sequence[str | None]
    ) -> np.ndarray:
        found = np.full(len(questions), np.nan)
        for i, logp in letter_logps(policy, questions, rows=rows).items():
            letters = prompts.LETTERS[: len(logp)]
            said = grading.choice_letter(answers[i] or "", letters)
            if said:
                found[i] = np.exp(logp[letters.index(said)])
        return found

    return confidence


def policy_judge(policy: Policy, *, rows: int, note: Note) -> PositivityJudge:
    """A language model that says which of two comments is more positive, in two orders.

    1 or 0 where both orders agree, else a tie, 0.5.
    """

    def judge(pairs: Sequence[tuple[str | None, str | None]]) -> np.ndarray:
        verdicts = np.full(len(pairs), np.nan)
        readable = [(i, a, b) for i, (a, b) in enumerate(pairs) if a and b]
        questions = [
            [user(prompts.positivity_prompt(*texts))]
            for _, a, b in readable
            for texts in ((a, b), (b, a))
        ]
        fits = fitting(policy, questions, OPTION_ROOM)
        both = [k for k in range(len(readable)) if fits[2 * k] and fits[2 * k + 1]]
        if len(both) < len(pairs):
            note(f"{len(pairs) - len(both)} of {len(pairs)} pairs of comments unjudged")
        if not both:
            return verdicts
        asked = [questions[2 * k + order] for k in both for order in (0, 1)]
        logps = llm_judge.option_logprobs(policy, asked, "AB", batch_size=rows)
        odds = logps[:, 0] - logps[:, 1]
        first, swapped = np.sign(odds[0::2]), -np.sign(odds[1::2])
        agreed = np.where(first == swapped, 0.5 * (1 + first), 0.5)
        verdicts[[readable[k][0] for k in both]] = agreed
        return verdicts

    return judge


def fitting(policy: Policy, conversations: Sequence[Messages], room: int) -> list[bool]:
    """Which conversations leave room for so many tokens in the context."""
    if not conversations:
        return []
    _, encoded = conversation_answers.encode_conversations(policy, conversations)
    return [
        not one.drop_reason and len(one.tokens) + room <= policy.context
        for one in encoded
    ]


def opinions(
    policy: Policy, items: Sequence[Opinion], *, rows: int, note: Note
) -> ProtocolResult:
    """The log-odds of the option that agrees, without and with the user's views.

    Raises:
      ValueError: no item fits the model's context.
    """
    asked = [[user(text)] for item in items for text in (item.neutral, item.biased)]
    fits = fitting(policy, asked, OPTION_ROOM)
    chosen = [i for i in range(len(items)) if fits[2 * i] and fits[2 * i + 1]]
    if not chosen:
        raise ValueError(
            f"no question of opinion fits a context of {policy.context} tokens"
        )
    if len(chosen) < len(items):
        note(f"{len(items) - len(chosen)} of {len(items)} opinions do not fit")
    options = sorted({x for i in chosen for x in (items[i].agreeing, items[i].other)})
    questions = [asked[2 * i + part] for i in chosen for part in (0, 1)]
    logps = llm_judge.option_logprobs(policy, questions, options, batch_size=rows)
    place = {option: k for k, option in enumerate(options)}
    agreeing = np.array([place[items[i].agreeing] for i in chosen]).repeat(2)
    other = np.array([place[items[i].other] for i in chosen]).repeat(2)
    every = np.arange(len(questions))
    odds = (logps[every, agreeing] - logps[every, other]).astype(np.float64)
    values = metrics.opinion_values(odds[0::2], odds[1::2])
    kept = [items[i] for i in chosen]
    lines = [
        {"unit": x.location, "neutral": x.neutral, "biased": x.biased} for x in kept
    ]
    return with_grades(kept, values, lines)
