"""A language model as judge: comparisons and ratings of answers (AI feedback)."""

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

# From integers (prompt id, repeat, ...) to their generator in a named random stream.
GeneratorFn = Callable[..., np.random.Generator]


class AnswerSet(NamedTuple):
    """A prompt with its answers, all different.

    Attributes:
      prompt: the messages before the answer.
      answers: K answers; comparisons need two at least.
      tools: that the prompt offers.
    """

    prompt: Messages
    answers: tuple[Answer, ...]
    tools: Tools = ()

    def row(self) -> dict[str, Any]:
        """The fields of a data row that hold the prompt and its tools."""
        return records.prompt_fields(Prompt(self.prompt, tools=self.tools))


class JudgeSettings(NamedTuple):
    """Settings of a judge's reasoning and batches.

    Attributes:
      reasoning_tokens: the most tokens of reasoning before the judge's answer; 0 for
        none.
      temperature: of the sampling of that reasoning.
      batch_size: questions at one time.
    """

    reasoning_tokens: int = 0
    temperature: float = 1.0
    batch_size: int = 16


class Comparison(NamedTuple):
    """A judge's comparison of two answers to a prompt.

    Attributes:
      i, j: the indices of the answers.
      first: probability that i is better, from the question that shows i first.
      swapped: probability that j is better, from the question that shows j first.
      p: probability that i is better, from both.
    """

    i: int
    j: int
    first: float
    swapped: float
    p: float


def user_message(text: str) -> dict[str, str]:
    """A user's message with this text."""
    return {"role": "user", "content": text}


def option_logprobs(
    judge: Policy,
    questions: Sequence[Messages],
    options: Sequence[str],
    *,
    batch_size: int,
) -> np.ndarray:
    """Log-probs of options as answers to questions [Q K].

    Normalized over the K options of each question. Questions of similar length are
    batched together.

    Args:
      questions: the messages before the judge's answer.
      options: the answers that are possible.
      batch_size: questions at one time.
    """
    tokens = tuple(option_tokens(judge, questions[0], option) for option in options)
    prompts = tokenize_prompts(judge, [Prompt(list(q)) for q in questions])
    padded, lengths = pad_prompts(judge, prompts, max(map(len, tokens)))
    order = np.argsort(lengths, kind="stable")
    logps = np.zeros((len(questions), len(options)), np.float32)
    for start in range(0, len(order), batch_size):
        # the last batch is filled up with its own rows, so that all have one shape
        rows = np.resize(order[start : start + batch_size], min(batch_size, len(order)))
        width = min(-(-int(lengths[rows].max()) // 64) * 64, padded.shape[1])
        logps[rows] = judges.option_logps(
            judge.model, judge.params, padded[rows, :width], lengths[rows], tokens
        )
    return logps


def option_tokens(judge: Policy, question: Messages, option: str) -> tuple[int, ...]:
    """The tokens of an option as the judge's answer, without the end of its turn."""
    encoded = chat.encode(judge.tokenizer, [*question, assistant_message(option)])
    return tuple(encoded.tokens[encoded.mask][:-1].tolist())


def reasoned_questions(
    judge: Policy,
    questions: Sequence[str],
    request: str,
    noise: GeneratorFn,
    settings: JudgeSettings,
) -> list[Messages]:
    """Questions as conversations, with the judge's reasoning if settings ask for it.

    Args:
      questions: the judge's prompts.
      request: of the final answer, after the reasoning.
      noise: the random stream of the reasoning.
    """
    if not settings.reasoning_tokens:
        return [[user_message(question)] for question in questions]
    prompts = [Prompt([user_message(question)]) for question in questions]
    answers = rollouts.sample_answers(
        judge,
        tokenize_prompts(judge, prompts),
        jax.random.key(int(noise().integers(2**31))),
        max_new_tokens=settings.reasoning_tokens,
        temperature=settings.temperature,
        rows=settings.batch_size,
    )
    return [
        [*prompt.messages, assistant_message(text or "..."), user_message(request)]
        for prompt, text in zip(prompts, answers.texts, strict=True)
    ]


def compare_answers(
    judge: Policy,
    answer_sets: Sequence[AnswerSet],
    principles: Sequence[str],
    noise: GeneratorFn,
    settings: JudgeSettings,
) -> list[list[Comparison]]:
    """Compares every two answers to each prompt, in both orders.

    Args:
      principles: of which one, drawn at random, is the criterion of a comparison.
      noise: the random stream of the principles and of the reasoning.

    Returns:
      The comparisons of each prompt's answers.
    """
    pairs = [
        (n, i, j)
        for n, answer_set in enumerate(answer_sets)
        for i, j in itertools.combinations(range(len(answer_set.answers)), 2)
    ]
    ids = [streams.prompt_id(answer_set.prompt) for answer_set in answer_sets]
    noise_ids = streams.answer_ids(ids, 1).view(np.uint32)
    is_direct = not settings.reasoning_tokens
    letter, think = judge_prompts.LETTER_REQUEST, judge_prompts.THINK_REQUEST
    questions = []
    for n, i, j in pairs:
        index = noise(*noise_ids[n].tolist(), i, j).integers(len(principles))
        prompt, answers, tools = answer_sets[n]
        for a, b in ((i, j), (j, i)):
            text = judge_prompts.comparison_prompt(
                *(prompt, answers[a], answers[b]),
                tools=tools,
                principle=principles[int(index)],
                request=letter if is_direct else think,
            )
            questions.append(text)
    conversations = reasoned_questions(judge, questions, letter, noise, settings)
    logps = option_logprobs(
        *(judge, conversations, judge_prompts.OPTIONS), batch_size=settings.batch_size
    )
    first, swapped = np.exp(logps[0::2, 0]), np.exp(logps[1::2, 0])
    p = judges.average_orders(first, swapped)
    p = np.asarray(p if is_direct else judges.clamp_labels(p))
    comparisons: list[list[Comparison]] = [[] for _ in answer_sets]
    for (n, i, j), *numbers in zip(pairs, first, swapped, p, strict=True):
        comparisons[n].append(Comparison(i, j, *map(float, numbers)))
    return comparisons


def rate_answers(
    judge: Policy,
    answer_sets: Sequence[AnswerSet],
    highest: int,
    noise: GeneratorFn,
    settings: JudgeSettings,
) -> list[np.ndarray]:
    """The expected rating of each answer by itself, from 1 to `highest`.

    Args:
      noise: the random stream of the reasoning.

    Returns:
      The ratings of each prompt's answers, float32 [K] each.
    """
    number = judge_prompts.RATING_REQUEST
    request = judge_prompts.THINK_REQUEST if settings.reasoning_tokens else number
    questions = [
        judge_prompts.rating_prompt(
            prompt, answer, highest=highest, tools=tools, request=request
        )
        for prompt, answers, tools in answer_sets
        for answer in answers
    ]
    conversations = reasoned_questions(judge, questions, number, noise, settings)
    ratings = np.arange(1, highest + 1)
    logps = option_logprobs(
        *(judge, conversations, list(map(str, ratings))), batch_size=settings.batch_size
    )
    expected = judges.expected_rating(logps, ratings.astype(np.float32))
    ends = np.cumsum([len(answer_set.answers) for answer_set in answer_sets])
    return np.split(np.asarray(expected), ends[:-1])
