"""How a judge is asked about answers, and what its labels become."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import chat, records
from jaxalign.data.records import Answer, Messages, Prompt, Tools, assistant_message
from jaxalign.pipeline import rollouts
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import pad_prompts, tokenize_prompts
from jaxalign.rewards import judge_prompts, judges

LABEL_EPSILON = (
    1e-4  # labels stay this far from 0 and 1, so that their log-odds are finite
)


# a generator for each prompt, repeat, ..., of a named stream
GeneratorFn = Callable[..., np.random.Generator]


class AnswerSet(NamedTuple):
    """A prompt with two answers or more, all different."""

    prompt: Messages
    answers: tuple[Answer, ...]
    tools: Tools = ()

    def row(self) -> dict[str, Any]:
        """The fields of a row that say what the answers are to."""
        return records.prompt_fields(Prompt(self.prompt, tools=self.tools))


class JudgeSettings(NamedTuple):
    """How a judge is asked.

    Attributes:
      thoughts: tokens in which it may think first.
      temperature: of the thoughts.
      rows: questions at one time.
    """

    thoughts: int = 0
    temperature: float = 1.0
    rows: int = 16


class Comparison(NamedTuple):
    """What a judge says of two answers, i and j, to a prompt.

    Attributes:
      first: probability of i where it is shown first.
      swapped: probability of j where that is shown first.
      p: probability that i is better, of both.
    """

    i: int
    j: int
    first: float
    swapped: float
    p: float


def user_message(text: str) -> dict[str, str]:
    """What the judge is asked, as a message."""
    return {"role": "user", "content": text}


def option_logprobs(
    judge: Policy,
    questions: Sequence[Messages],
    options: Sequence[str],
    *,
    rows: int,
) -> np.ndarray:
    """Log-probs of options as answers to questions, normalised over them [Q K].

    Questions of like length go together, `rows` at a time.
    """
    tokens = tuple(option_tokens(judge, questions[0], option) for option in options)
    room = max(map(len, tokens))
    asked = [Prompt(list(question)) for question in questions]
    padded, lengths = pad_prompts(judge, tokenize_prompts(judge, asked), room)
    order = np.argsort(lengths, kind="stable")
    found = np.zeros((len(asked), len(options)), np.float32)
    for start in range(0, len(order), rows):
        # the last batch is filled up with its own rows, so that all have one shape
        at = np.resize(order[start : start + rows], min(rows, len(order)))
        width = min(-(-int(lengths[at].max()) // 64) * 64, padded.shape[1])
        found[at] = judges.option_logps(
            judge.model, judge.params, padded[at, :width], lengths[at], tokens
        )
    return found


def option_tokens(judge: Policy, question: Messages, option: str) -> tuple[int, ...]:
    """What the judge would say for an option, without the end of its turn."""
    encoded = chat.encode(judge.tokenizer, [*question, assistant_message(option)])
    return tuple(encoded.tokens[encoded.mask][:-1].tolist())


def reasoned_questions(
    judge: Policy,
    questions: Sequence[str],
    request: str,
    noise: GeneratorFn,
    manner: JudgeSettings,
) -> list[Messages]:
    """Questions to which the judge may think first; then it is asked for the answer."""
    if not manner.thoughts:
        return [[user_message(question)] for question in questions]
    asked = [Prompt([user_message(question)]) for question in questions]
    answers = rollouts.sample_answers(
        judge,
        tokenize_prompts(judge, asked),
        jax.random.key(int(noise().integers(2**31))),
        max_new_tokens=manner.thoughts,
        temperature=manner.temperature,
        rows=manner.rows,
    )
    return [
        [*prompt.messages, assistant_message(text or "..."), user_message(request)]
        for prompt, text in zip(asked, answers.texts, strict=True)
    ]


def compare_answers(
    judge: Policy,
    answered: Sequence[AnswerSet],
    principles: Sequence[str],
    noise: GeneratorFn,
    manner: JudgeSettings,
) -> list[list[Comparison]]:
    """Every two answers to each prompt, compared in both orders by one principle."""
    pairs = [
        (n, i, j)
        for n, one in enumerate(answered)
        for i, j in itertools.combinations(range(len(one.answers)), 2)
    ]
    ids = [streams.prompt_id(one.prompt) for one in answered]
    times = streams.answer_ids(ids, 1).view(np.uint32)
    questions = []
    for n, i, j in pairs:
        drawn = noise(*times[n].tolist(), i, j).integers(len(principles))
        principle = principles[int(drawn)]
        prompt, answers, tools = answered[n]
        request = (
            judge_prompts.THINK_REQUEST
            if manner.thoughts
            else judge_prompts.LETTER_REQUEST
        )
        for a, b in ((i, j), (j, i)):
            text = judge_prompts.comparison_prompt(
                *(prompt, answers[a], answers[b]),
                tools=tools,
                principle=principle,
                request=request,
            )
            questions.append(text)
    asked = reasoned_questions(
        judge, questions, judge_prompts.LETTER_REQUEST, noise, manner
    )
    logps = option_logprobs(judge, asked, judge_prompts.OPTIONS, rows=manner.rows)
    first, swapped = np.exp(logps[0::2, 0]), np.exp(logps[1::2, 0])
    p = judges.average_orders(first, swapped)
    p = np.asarray(judges.clamp_labels(p) if manner.thoughts else p)
    found: list[list[Comparison]] = [[] for _ in answered]
    for (n, i, j), *numbers in zip(pairs, first, swapped, p, strict=True):
        found[n].append(Comparison(i, j, *map(float, numbers)))
    return found


def rate_answers(
    judge: Policy,
    answered: Sequence[AnswerSet],
    highest: int,
    noise: GeneratorFn,
    manner: JudgeSettings,
) -> list[np.ndarray]:
    """The expected rating of each answer, from 1 to the highest."""
    request = (
        judge_prompts.THINK_REQUEST if manner.thoughts else judge_prompts.RATING_REQUEST
    )
    questions = [
        judge_prompts.rating_prompt(
            prompt, answer, highest=highest, tools=tools, request=request
        )
        for prompt, answers, tools in answered
        for answer in answers
    ]
    asked = reasoned_questions(
        judge, questions, judge_prompts.RATING_REQUEST, noise, manner
    )
    ratings = np.arange(1, highest + 1)
    logps = option_logprobs(judge, asked, list(map(str, ratings)), rows=manner.rows)
    found = judges.expected_rating(logps, ratings.astype(np.float32))
    ends = np.cumsum([len(one.answers) for one in answered])
    return np.split(np.asarray(found), ends[:-1])


def soft_pairs(
    answered: AnswerSet, compared: Sequence[Comparison]
) -> list[dict[str, Any]]:
    """Pairs with their labels; those of which neither is better are left out.

    `label_prob` is the probability that the chosen answer is the better one, and
    `margin` its log-odds, in nats.
    """
    rows = []
    for pair in compared:
        if pair.p == 0.5:
            continue
        better, worse = (pair.i, pair.j) if pair.p > 0.5 else (pair.j, pair.i)
        p = min(max(pair.p, 1.0 - pair.p), 1.0 - LABEL_EPSILON)
        rows.append(
            {
                **answered.row(),
                "chosen": answered.answers[better],
                "rejected": answered.answers[worse],
                "label_prob": p,
                "margin": float(np.log(p) - np.log1p(-p)),
            }
        )
    return rows


def mean_win_probabilities(
    answered: AnswerSet, compared: Sequence[Comparison]
) -> np.ndarray:
    """How probably each answer is better than another, a mean over the others [K]."""
    total = np.zeros(len(answered.answers))
    for pair in compared:
        total[pair.i] += pair.p
        total[pair.j] += 1.0 - pair.p
    return total / (len(total) - 1)


def ranking_row(answered: AnswerSet, worth: np.ndarray) -> dict[str, Any]:
    """The answers to a prompt, best first, as `--data` reads them."""
    order = np.argsort(-worth, kind="stable")
    return {
        **answered.row(),
        "answers": [answered.answers[k] for k in order],
        "rewards": worth[order].tolist(),
    }


def zephyr_pairs(
    answered: Sequence[AnswerSet], ratings: Sequence[np.ndarray], key: jax.Array
) -> list[dict[str, Any]]:
    """The best answer to each prompt against a random other; of equals, none."""
    most = max(len(r) for r in ratings)
    scores = np.array([np.pad(r, (0, most - len(r))) for r in ratings])
    mask = np.arange(most)[None, :] < np.array([[len(r)] for r in ratings])
    found = judges.best_and_random(scores, mask, key)
    return [
        {
            **one.row(),
            "chosen": one.answers[best],
            "rejected": one.answers[other],
            "rewards": [float(rated[best]), float(rated[other])],
        }
        for one, rated, best, other in zip(
            answered, ratings, *map(np.asarray, found), strict=True
        )
        if rated[best] > rated[other]
    ]
