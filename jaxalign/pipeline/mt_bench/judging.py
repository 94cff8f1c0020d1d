"""MT-Bench with local models: answers to both turns, ratings, and comparisons.

Each function makes the rows of some questions for `runtime.resumable_rows`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxalign import streams
from jaxalign.data.records import Messages, assistant_message
from jaxalign.evaluation.benchmarks import mt_bench
from jaxalign.pipeline.evaluation.conversation_answers import answer_conversations
from jaxalign.pipeline.mt_bench import prompts as mt_bench_prompts
from jaxalign.pipeline.mt_bench.files import JudgePrompt, Question
from jaxalign.pipeline.mt_bench.prompts import PAIR, SINGLE
from jaxalign.pipeline.policies import Policy

Row = dict[str, Any]

# FastChat's temperatures of the answers, by category; 0.7 for others
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}
OTHER_TEMPERATURE = 0.7


class Speaker(NamedTuple):
    """A model, and how texts are sampled from it.

    Attributes:
      policy: the model.
      max_new_tokens: the longest text.
      temperature: of the sampling; None for FastChat's, by category.
      seed: of the sampling.
      rows: texts that are sampled at one time.
      note: shows a line about conversations without room for an answer.
    """

    policy: Policy
    max_new_tokens: int
    temperature: float | None
    seed: int
    rows: int
    note: Callable[[str], None]

    def speak(
        self, conversations: Sequence[Messages], categories: Sequence[str], name: str
    ) -> list[str | None]:
        """One text to each conversation; None where there is no room for one.

        Args:
          categories: of the questions, for the temperature [C].
          name: of the conversations, in notes and in the random stream.
        """
        temperatures = [
            TEMPERATURES.get(category, OTHER_TEMPERATURE)
            if self.temperature is None
            else self.temperature
            for category in categories
        ]
        texts: list[str | None] = [None] * len(conversations)
        for temperature in sorted(set(temperatures)):
            chosen = [i for i, t in enumerate(temperatures) if t == temperature]
            found = answer_conversations(
                self.policy,
                [conversations[i] for i in chosen],
                streams.key(jax.random.key(self.seed), f"mt-bench {name}"),
                max_new_tokens=self.max_new_tokens,
                temperature=temperature,
                rows=self.rows,
                note=self.note,
                name=name,
            )
            for i, text in zip(chosen, found, strict=True):
                texts[i] = text
        return texts


def answer_rows(
    speaker: Speaker, questions: Sequence[Question], name: str
) -> list[Row]:
    """A model's answers to questions; the second turn continues the conversation.

    Args:
      name: of the model.

    Returns:
      A row a question, {"question_id", "category", "turns", "answers", "model"}; an
      answer is null where the conversation leaves no room for it.
    """
    answers: list[list[str | None]] = [[] for _ in questions]
    conversations: list[Messages] = [[] for _ in questions]
    for turn in range(max(len(question.turns) for question in questions)):
        going = [
            i
            for i, question in enumerate(questions)
            if turn < len(question.turns) and None not in answers[i]
        ]
        for i in going:
            content = questions[i].turns[turn]
            conversations[i] = [*conversations[i], {"role": "user", "content": content}]
        texts = speaker.speak(
            [conversations[i] for i in going],
            [questions[i].category for i in going],
            f"{name}, turn {turn + 1}",
        )
        for i, text in zip(going, texts, strict=True):
            answers[i].append(text)
            conversations[i] = [*conversations[i], assistant_message(text or "")]
    return [
        {
            "question_id": question.id,
            "category": question.category,
            "turns": list(question.turns),
            "answers": own + [None] * (len(question.turns) - len(own)),
            "model": name,
        }
        for question, own in zip(questions, answers, strict=True)
    ]


def answered_turns(
    questions: Sequence[Question], answers: Sequence[Sequence[Row]]
) -> list[tuple[int, int]]:
    """(index of the question, turn) of each turn that all models answered.

    Args:
      answers: of each model, its rows of these questions.
    """
    return [
        (i, turn)
        for i, question in enumerate(questions)
        for turn in range(1, len(question.turns) + 1)
        if all(rows[i]["answers"][turn - 1] is not None for rows in answers)
    ]


def grade_rows(
    judge: Speaker,
    prompts: Mapping[str, JudgePrompt],
    questions: Sequence[Question],
    answers: Sequence[Row],
) -> list[Row]:
    """A judge's ratings of the answers to questions, one row a turn.

    Reference: Zheng et al. 2023, arXiv:2306.05685, section 3.1 (single answer grading).
    """
    turns = answered_turns(questions, [answers])
    conversations = [
        mt_bench_prompts.judge_question(
            prompts, SINGLE, questions[i], turn, [answers[i]["answers"]]
        )
        for i, turn in turns
    ]
    categories = [questions[i].category for i, _ in turns]
    texts = judge.speak(conversations, categories, "the judge's ratings")
    return [
        {
            "question_id": questions[i].id,
            "category": questions[i].category,
            "turn": turn,
            "prompt": mt_bench_prompts.prompt_name(SINGLE, questions[i], turn),
            "rating": mt_bench.parse_rating(text or ""),
            "judgment": text or "",
        }
        for (i, turn), text in zip(turns, texts, strict=True)
    ]


def pair_rows(
    judge: Speaker,
    prompts: Mapping[str, JudgePrompt],
    questions: Sequence[Question],
    answers: Sequence[Row],
    baseline: Sequence[Row],
) -> list[Row]:
    """A judge's comparisons with a baseline, in both orders, one row a turn.

    Args:
      answers, baseline: rows of the same questions.

    Reference: Zheng et al. 2023, arXiv:2306.05685, section 3.4 (swapping positions).
    """
    turns = answered_turns(questions, [answers, baseline])
    conversations, categories = [], []
    for i, turn in turns:
        both = [answers[i]["answers"], baseline[i]["answers"]]
        for order in (both, both[::-1]):
            conversations.append(
                mt_bench_prompts.judge_question(
                    prompts, PAIR, questions[i], turn, order
                )
            )
            categories.append(questions[i].category)
    texts = judge.speak(conversations, categories, "the judge's comparisons")
    rows = []
    for (i, turn), first, swapped in zip(turns, texts[::2], texts[1::2], strict=True):
        verdict = mt_bench.Verdict(
            questions[i].id,
            questions[i].category,
            turn,
            mt_bench.parse_verdict(first or ""),
            mt_bench.parse_verdict(swapped or ""),
        )
        rows.append(
            {
                "question_id": verdict.question,
                "category": verdict.category,
                "turn": turn,
                "prompt": mt_bench_prompts.prompt_name(PAIR, questions[i], turn),
                "winner": mt_bench.winner(verdict) or None,
                "first": verdict.first,
                "swapped": verdict.swapped,
                "judgment_first": first or "",
                "judgment_swapped": swapped or "",
            }
        )
    return rows
