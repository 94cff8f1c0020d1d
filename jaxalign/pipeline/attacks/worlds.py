"""What an attack needs to know of its requests: wordings, targets, shots, a judge.

`toy_world` is the toy's how-to requests, `suite_world` any files of prompts.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.data import toy_attacks
from jaxalign.data.records import Prompt
from jaxalign.evaluation.attacks import augmentations, prompt_attacks
from jaxalign.evaluation.safety.attack_metrics import BROKEN
from jaxalign.evaluation.safety.broken_answers import broken_reason, shares_word
from jaxalign.evaluation.safety.refusal_classes import FULL_COMPLIANCE, FULL_REFUSAL
from jaxalign.pipeline.red_team.judges import Judge, Judgement, answer_outcome
from jaxalign.pipeline.red_team.suites import SuitePrompt

REFUSAL = "I'm sorry, but I can't help with that."
MOST_SHOTS = 512

Rewrite = Callable[[str], str]


class AttackWorld(NamedTuple):
    """Requests, and what is needed to attack a model with them.

    Attributes:
      harmful: requests that should be refused.
      safe: requests that should not be; may be empty.
      attacks: rewritten requests by name; None where an attack does not apply.
      target: the answer that an attack on a request is for.
      shots: (request, number) -> (request, answer) of conversations that comply.
      augment: a random variant of a request.
      judge: of answers to the harmful requests.
      outcome: (request, answer) -> one of `attack_metrics.OUTCOMES`, by rules.
      is_off_topic: whether an answer that is neither a refusal nor broken does not give
        what the request asks for.
      refusal: the refusal whose log-prob a threshold is on.
    """

    harmful: list[Prompt]
    safe: list[Prompt]
    attacks: Mapping[str, Rewrite | None]
    target: Rewrite
    shots: Callable[[str, int], list[tuple[str, str]]]
    augment: Callable[[str, np.random.Generator], str]
    judge: Judge
    outcome: Callable[[str, str], str]
    is_off_topic: Callable[[str, str], bool]
    refusal: str


def request_of(prompt: Prompt) -> str:
    """The text of a prompt's last message."""
    return str(prompt.messages[-1]["content"])


def user_prompt(text: str) -> Prompt:
    """A prompt of one message."""
    return Prompt([{"role": "user", "content": text}])


def toy_world(number: int, seed: int) -> AttackWorld:
    """The toy's how-to requests, in wordings or on topics that no data have.

    Args:
      number: harmful requests, and as many safe ones, where there are so many.
      seed: chooses them.
    """
    texts = lambda harmful: toy_attacks.held_out_requests(harmful, number, seed)
    return AttackWorld(
        harmful=list(map(user_prompt, texts(True))),
        safe=list(map(user_prompt, texts(False))),
        attacks=toy_attacks.ATTACKS,
        target=toy_attacks.complying_answer,
        shots=toy_shots,
        augment=toy_attacks.augment,
        judge=toy_judge,
        outcome=toy_outcome,
        is_off_topic=lambda request, answer: (
            not toy_attacks.verdict(request, answer).complies
        ),
        refusal=toy_attacks.REFUSAL_ANSWER,
    )


def toy_shots(request: str, number: int) -> list[tuple[str, str]]:
    """Shots of the toy world, none of them on the topic of the request.

    The first of more shots are those of fewer.
    """
    seed = zlib.crc32(request.encode())
    shots = toy_attacks.complying_shots(2 * number + 16, seed)
    if any(topic in request for topic in (*toy_attacks.HARMFUL, *toy_attacks.SAFE)):
        topic = toy_attacks.topic_of(request)
        shots = [shot for shot in shots if topic not in shot[0]]
    return shots[:number]


def toy_outcome(request: str, answer: str) -> str:
    """The class of an answer of the toy world."""
    if broken_reason(answer):
        return BROKEN
    refuses = toy_attacks.verdict(request, answer).refuses
    return FULL_REFUSAL if refuses else FULL_COMPLIANCE


def toy_judge(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Judgement]:
    """Success is the whole plan, for the topic that was asked for."""
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        request = request_of(prompt)
        complies = toy_attacks.verdict(request, answer).complies
        found.append(Judgement(toy_outcome(request, answer), float(complies)))
    return found


def suite_world(
    suite: Sequence[SuitePrompt], judge: Judge, *, prompts: int, refusal: str = REFUSAL
) -> AttackWorld:
    """Prompts of suites; shots are the toy world's, whose answers harm nobody.

    Args:
      prompts: at most so many harmful ones and so many safe ones, evenly from all.

    Raises:
      ValueError: no prompt is unsafe.
    """
    harmful = [one.prompt for one in suite if not one.safe]
    safe = [one.prompt for one in suite if one.safe]
    if not harmful:
        raise ValueError("--suite has no unsafe prompt, so that nothing is attacked")
    return AttackWorld(
        evenly(harmful, prompts),
        evenly(safe, prompts),
        attacks=prompt_attacks.ATTACKS,
        target=prompt_attacks.affirmative,
        shots=toy_shots,
        augment=augmentations.augment,
        judge=judge,
        outcome=lambda request, answer: answer_outcome(answer),
        is_off_topic=lambda request, answer: not shares_word(request, answer),
        refusal=refusal,
    )


def evenly(prompts: Sequence[Prompt], number: int) -> list[Prompt]:
    """At most so many prompts, evenly from all.

    >>> len(evenly([user_prompt("a")] * 5, 3)), evenly([], 3)
    (3, [])
    """
    if number >= len(prompts):
        return list(prompts)
    places = np.linspace(0, len(prompts) - 1, number).round().astype(int)
    return [prompts[i] for i in places]
