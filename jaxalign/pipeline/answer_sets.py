"""Answer sets from data sets: each prompt with the answers that a judge is to label."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from jaxalign.data import chat, splits
from jaxalign.data.records import (
    Answer,
    Demonstration,
    Prompt,
    assistant_message,
    conversation_key,
)
from jaxalign.data.schemas.messages import message_to_answer
from jaxalign.pipeline.datasets.dataset import Dataset
from jaxalign.pipeline.datasets.record_splits import map_splits
from jaxalign.pipeline.llm_judge import AnswerSet, user_message
from jaxalign.pipeline.policies import Policy
from jaxalign.rewards import judge_prompts

MAX_OPTION_TOKENS = 8  # tokens of the longest option
Splits = tuple[list[AnswerSet], list[AnswerSet]]


def answer_sets(source: Dataset, *, last_answers: bool) -> Splits:
    """The answers of a data set's rows, of the training and the held-out split.

    Of rankings all answers, else of each row its last answer or its pair.

    Args:
      last_answers: take the last answer of each row in place of its pair, which data
        sets without pairs need.
    """
    if source.has_rankings:
        return map_splits(
            lambda split: [AnswerSet(r.prompt, r.answers, r.tools) for r in split],
            source.rankings(),
        )
    if last_answers:
        return map_splits(
            lambda split: [last_answer(d) for d in split],
            source.demonstrations(),
        )
    return map_splits(
        lambda split: [
            AnswerSet(p.prompt, (p.chosen, p.rejected), p.tools) for p in split
        ],
        source.preferences(),
    )


def last_answer(example: Demonstration) -> AnswerSet:
    """The last message of a conversation as the answer to those before.

    Raises:
      ValueError: a plain text, which has no prompt.
    """
    if example.plain:
        raise ValueError(
            f"{example.location}: field 'text' has no prompt, so no answer to judge"
        )
    *prompt, last = example.messages
    message = {name: value for name, value in last.items() if name != "train"}
    return AnswerSet(prompt, (message_to_answer(message, "messages"),), example.tools)


def merge_prompts(parts: Sequence[Sequence[AnswerSet]]) -> list[AnswerSet]:
    """Each prompt once, with all its answers from several files or models.

    Prompts with the same messages and other tools are different prompts.
    """
    merged: dict[Hashable, AnswerSet] = {}
    for answer_set in (answer_set for part in parts for answer_set in part):
        key = conversation_key(answer_set.prompt, answer_set.tools)
        previous = merged.get(key, answer_set._replace(answers=()))
        merged[key] = previous._replace(answers=previous.answers + answer_set.answers)
    return [x._replace(answers=distinct_answers(x.answers)) for x in merged.values()]


def distinct_answers(answers: Sequence[Answer]) -> tuple[Answer, ...]:
    """The answers that are not blank, each once, in order."""
    nonblank = [a for a in answers if judge_prompts.answer_text(a).strip()]
    return tuple(
        {conversation_key([assistant_message(a)]): a for a in nonblank}.values()
    )


def prompt_hashes(answer_sets: Sequence[AnswerSet]) -> np.ndarray:
    """`splits.prompt_hash` of each prompt, uint64 [P]."""
    return splits.prompt_hashes(Prompt(x.prompt) for x in answer_sets)


def drop_held_out(
    train: Sequence[AnswerSet], held_out: Sequence[AnswerSet]
) -> list[AnswerSet]:
    """Training prompts without those whose first user message is held out."""
    leaked = np.isin(prompt_hashes(train), prompt_hashes(held_out))
    return [x for x, is_leaked in zip(train, leaked, strict=True) if not is_leaked]


def filter_by_length(
    judge: Policy,
    prompts: Sequence[AnswerSet],
    longest_question: Callable[[AnswerSet], str],
    *,
    reasoning_tokens: int = 0,
) -> list[AnswerSet]:
    """Prompts with at least two answers whose longest question fits the context.

    Args:
      judge: the language model that labels.
      longest_question: the longest question about an answer set.
      reasoning_tokens: the most tokens of reasoning before the judge's answer.
    """
    several = [answer_set for answer_set in prompts if len(answer_set.answers) > 1]
    if not several:
        return []
    questions = [longest_question(x) for x in several]
    fits = questions_fit(judge, questions, reasoning_tokens=reasoning_tokens)
    return [x for x, is_short in zip(several, fits, strict=True) if is_short]


def questions_fit(
    judge: Policy, questions: Sequence[str], *, reasoning_tokens: int = 0
) -> np.ndarray:
    """Whether each question leaves room for its answer in the judge's context [Q].

    Args:
      judge: the language model that answers.
      questions: the judge's prompts.
      reasoning_tokens: the most tokens of reasoning before the judge's answer.
    """
    if not questions:
        return np.zeros(0, bool)
    reserved = MAX_OPTION_TOKENS
    if reasoning_tokens:
        request = [user_message(judge_prompts.LETTER_REQUEST)]
        reserved += reasoning_tokens + len(chat.encode_prompt(judge.tokenizer, request))
    conversations = [[user_message(question)] for question in questions]
    rows = chat.encode_prompts(judge.tokenizer, conversations)
    return np.array([len(ids) <= judge.config.context - reserved for ids in rows])
