"""Safety context distillation: a policy learns answers it gives under a system prompt.

For each adversarial prompt x the policy answers twice: y0 ~ pi(. | x), and
y1 ~ pi(. | prefix, x) after a generic pre-prompt, or the answer template of x's risk
category. A row (x, y1), without the prefix, is SFT data where the safety model prefers
y1 to y0. On prompts that are not adversarial a prefix makes answers vague and refusals
of benign requests frequent: so it is for adversarial ones alone. The largest model
writes, and smaller ones learn.

Reference: Touvron et al. 2023, arXiv:2307.09288, section 4.2.4 and appendix A.4.5.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxalign.data.records import Prompt, assistant_message
from jaxalign.pipeline import rollouts
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import select_prompts
from jaxalign.types import Key


@dataclasses.dataclass(frozen=True)
class Distillation:
    """Answers to prompts with and without a prefix, and their safety scores.

    Attributes:
      prompts: without the prefix [P].
      original: the answers to them [P].
      distilled: the answers after the prefix [P].
      original_score, distilled_score: of both as answers to the bare prompt [P].
      finished: whether the distilled answer ended, bool [P].
    """

    prompts: list[Prompt]
    original: list[str]
    distilled: list[str]
    original_score: np.ndarray
    distilled_score: np.ndarray
    finished: np.ndarray

    @property
    def acceptance(self) -> np.ndarray:
        """Whether each distilled answer is SFT data, bool [P]."""
        ended = self.finished & np.array([bool(text) for text in self.distilled])
        return prefers_distilled(self.distilled_score, self.original_score) & ended

    def rows(self, *, or_original: bool = False) -> list[dict[str, Any]]:
        """SFT data of the kept answers, without the prefix.

        Args:
          or_original: the policy's original answer where the distilled one is not kept.
        """
        rows = []
        for i, accepted in enumerate(self.acceptance):
            if accepted or (or_original and self.original[i]):
                answer = self.distilled[i] if accepted else self.original[i]
                messages = [*self.prompts[i].messages, assistant_message(answer)]
                rows.append({"messages": messages})
        return rows


def prefers_distilled(distilled: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Whether the safety model prefers the distilled answer: R_s(y1) > R_s(y0).

    A tie keeps nothing, and neither does a score that is NaN.

    >>> distilled, original = np.array([1.0, 2.0, np.nan]), np.array([0.0, 2.0, 0.0])
    >>> prefers_distilled(distilled, original).tolist()
    [True, False, False]
    """
    return np.asarray(distilled) > np.asarray(original)


def with_prefix(prompt: Prompt, prefix: str) -> Prompt:
    """A prompt with a system message first, before that of its own if it has one."""
    messages = list(prompt.messages)
    if messages and messages[0]["role"] == "system":
        prefix = f"{prefix}\n{messages.pop(0)['content']}"
    message = {"role": "system", "content": prefix}
    return dataclasses.replace(prompt, messages=[message, *messages])


def distill(
    policy: Policy,
    prompts: Sequence[Prompt],
    prefix: Callable[[Prompt], str],
    score: Scorer,
    keys: tuple[Key, Key],
    *,
    max_new_tokens: int,
    note: Callable[[str], None],
) -> Distillation:
    """Samples answers with and without a prefix, and scores both without it.

    Args:
      prompts: adversarial ones.
      prefix: of a prompt: a pre-prompt, or the template of its category.
      score: of the safety model: (prompts, texts) -> scores.
      keys: of the answers without the prefix, and of those with it.
      note: shows a line on prompts that leave no room for an answer.

    Raises:
      ValueError: no prompt leaves room for an answer.
    """
    prefixed = [with_prefix(prompt, prefix(prompt)) for prompt in prompts]
    owner = {id(p): prompt for p, prompt in zip(prefixed, prompts, strict=True)}
    long = select_prompts(policy, prefixed, max_new_tokens, note, "with a prefix")
    bare = [owner[id(prompt)] for prompt in long.records]
    short = select_prompts(policy, bare, max_new_tokens, note, "without a prefix")
    original, distilled = (
        rollouts.sample_answers(policy, tokens, key, max_new_tokens=max_new_tokens)
        for tokens, key in zip((short, long), keys, strict=True)
    )
    return Distillation(
        bare,
        original.texts,
        distilled.texts,
        score(bare, original.texts),
        score(bare, distilled.texts),
        distilled.finished,
    )
