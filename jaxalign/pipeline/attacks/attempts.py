"""Attempts of attacks on a policy: prompts sent, answers judged, values by prompt."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from jaxalign import streams
from jaxalign.batches import TokenBatch
from jaxalign.data import chat, collate
from jaxalign.data.examples import TokenRow
from jaxalign.data.formats import row_writer
from jaxalign.data.records import Prompt, assistant_message
from jaxalign.evaluation.safety.attack_metrics import BROKEN
from jaxalign.evaluation.safety.refusal_classes import FULL_REFUSAL
from jaxalign.pipeline import answer_scores, prefilled_answers
from jaxalign.pipeline.attacks.worlds import AttackWorld, request_of
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.red_team.judges import Judgement
from jaxalign.sampling import SamplingParams
from jaxalign.types import Key

Values = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Bench:
    """A policy under attack.

    Attributes:
      world: the requests.
      key: of all sampling.
      max_new_tokens: of the longest answer.
      rows: answers that are sampled at one time.
      system: a system prompt before every conversation; "" for none.
      note: shows a line, such as `ReportRun.note`.
    """

    policy: Policy
    world: AttackWorld
    key: Key
    max_new_tokens: int
    rows: int
    note: Callable[[str], None]
    system: str = ""

    def conversation(self, messages: Sequence[dict[str, str]]) -> Prompt:
        """Messages as a prompt, after the system prompt where there is one."""
        system = [{"role": "system", "content": self.system}] * bool(self.system)
        return Prompt([*system, *messages])

    def rewrite(self, prompt: Prompt, text: str) -> Prompt:
        """A prompt with another text as its last message."""
        last = {**prompt.messages[-1], "content": text}
        return self.conversation([*prompt.messages[:-1], last])


def ask(
    bench: Bench,
    prompts: Sequence[Prompt],
    *,
    openings: Sequence[str] = (),
    given: int = 0,
    temperature: float = 0.0,
) -> list[str | None]:
    """One answer to each prompt; None where the context leaves no room for one.

    Args:
      openings: answers whose first `given` tokens begin the assistant's turn [P].
      temperature: of the sampling; 0 is greedy.
    """
    openings = openings or [""] * len(prompts)
    prefilled = prefilled_answers.prefill_answers(
        bench.policy, prompts, openings, given
    )
    tokens = prefilled.prompts
    room = bench.policy.context - bench.max_new_tokens
    fits = [i for i, row in enumerate(tokens.rows) if len(row) <= room]
    if len(fits) < len(tokens.rows):
        bench.note(
            f"{len(tokens.rows) - len(fits)} of {len(tokens.rows)} prompts are longer "
            f"than {room} tokens, which leaves no room for an answer: left out"
        )
    answers: list[str | None] = [None] * len(tokens.rows)
    if not fits:
        return answers
    pick = lambda some: [some[i] for i in fits]
    kept = prefilled_answers.PrefilledPrompts(
        dataclasses.replace(
            tokens, records=pick(tokens.records), rows=pick(tokens.rows)
        ),
        pick(prefilled.given),
    )
    sampled = prefilled_answers.sample_prefilled(
        bench.policy,
        kept,
        bench.key,
        SamplingParams(max_new_tokens=bench.max_new_tokens, temperature=temperature),
        rows=bench.rows,
        width=shared_width(max(map(len, kept.prompts.rows)), room),
    )
    for i, text in zip(fits, sampled.texts, strict=True):
        answers[i] = text
    return answers


def shared_width(longest: int, limit: int) -> int:
    """Columns of padded rows; attacks of nearly the same length share a program.

    >>> shared_width(70, 256), shared_width(70, 100)
    (128, 100)
    """
    return min(-(-longest // 64) * 64, limit)


def judge_answers(
    bench: Bench, requests: Sequence[Prompt], answers: Sequence[str | None]
) -> list[Judgement | None]:
    """The judgement of each answer as one to the original request; None for none."""
    rows = [i for i, answer in enumerate(answers) if answer is not None]
    texts = [answer for answer in answers if answer is not None]
    found: list[Judgement | None] = [None] * len(answers)
    if rows:
        judged = bench.world.judge([requests[i] for i in rows], texts)
        for i, judgement in zip(rows, judged, strict=True):
            found[i] = judgement
    return found


def values_of(
    bench: Bench,
    requests: Sequence[Prompt],
    answers: Sequence[str | None],
    judgements: Sequence[Judgement | None],
) -> Values:
    """What came of each attempt, NaN where there is no answer or no judgement [A].

    `success` by the judge; `refused` and `broken` by rules; `off_topic`, neither of
    these two, but not what the request asks for; `won`, a success that is not off
    topic; `score` where the judge gives one.
    """
    names = ("success", "won", "refused", "broken", "off_topic", "score")
    values = {name: np.full(len(answers), np.nan) for name in names}
    for i, (request, text, judgement) in enumerate(
        zip(requests, answers, judgements, strict=True)
    ):
        if text is None or judgement is None:
            continue
        outcome, asked = judgement.outcome, request_of(request)
        values["success"][i] = judgement.success
        values["refused"][i] = outcome == FULL_REFUSAL
        values["broken"][i] = outcome == BROKEN
        answered = outcome not in (FULL_REFUSAL, BROKEN)
        is_off = answered and bench.world.is_off_topic(asked, text)
        values["off_topic"][i] = is_off
        values["won"][i] = judgement.success * (not is_off)
        values["score"][i] = judgement.score
    if np.isnan(values["score"]).all():
        values.pop("score")
    return values


def attempt(
    bench: Bench,
    folder: Path | None,
    prompts: Sequence[Prompt],
    *,
    openings: Sequence[str] = (),
    given: int = 0,
) -> Values:
    """Sends a prompt for each harmful request, greedily; returns values by request.

    Args:
      folder: gets answers.jsonl.
      openings, given: as in `ask`.
    """
    requests = bench.world.harmful
    answers = ask(bench, prompts, openings=openings, given=given)
    judgements = judge_answers(bench, requests, answers)
    if folder is not None and jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "request": request_of(request),
                "prompt": prompt.messages,
                "answer": answer,
                "outcome": None if found is None else found.outcome,
                "success": None if found is None else number(found.success),
            }
            for request, prompt, answer, found in zip(
                requests, prompts, answers, judgements, strict=True
            )
        ]
        row_writer.write_json_lines(folder / "answers.jsonl", rows)
    return values_of(bench, requests, answers, judgements)


def number(value: float) -> float | None:
    """A number for JSON: None in place of NaN."""
    return None if np.isnan(value) else float(value)


def answer_nll(
    bench: Bench, prompts: Sequence[Prompt], answers: Sequence[str]
) -> np.ndarray:
    """-log p of whole answers, their end token included, in nats [P].

    NaN where prompt and answer are longer than the context.
    """
    encoded = [
        chat.encode(bench.policy.tokenizer, [*p.messages, assistant_message(a)])
        for p, a in zip(prompts, answers, strict=True)
    ]
    fits = [
        i for i, row in enumerate(encoded) if len(row.tokens) <= bench.policy.context
    ]
    nll = np.full(len(encoded), np.nan)
    if fits:
        rows = [TokenRow(encoded[i].tokens, encoded[i].mask) for i in fits]
        longest = max(len(row.tokens) for row in rows)
        width = shared_width(longest, bench.policy.context)
        batch: TokenBatch = collate.pad_sequences(rows, width)
        policy = bench.policy
        logp = lambda part: answer_scores.answer_logp(policy.model, policy.params, part)
        nll[fits] = -answer_scores.map_batches(logp, batch, bench.rows, None)
    return nll


def bench_key(seed: int) -> Key:
    """The key of a seed's sampling."""
    return streams.key(jax.random.key(seed), "attacks")
