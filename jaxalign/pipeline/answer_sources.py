"""Answers to the same prompts by several models and temperatures, and who gave them.

Diverse answers are easier to compare, and show a reward model more than one policy's
habits (Bai et al. 2022, arXiv:2204.05862, section 2.3: snapshots of many models).
"""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxalign import streams
from jaxalign.data.records import Prompt, prompt_fields
from jaxalign.pipeline import reward_functions, rollouts
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import TokenizedPrompts, select_prompts
from jaxalign.pipeline.reward_functions import RewardFunction

# fields of a row that say something of its own answers, or of one of them
OF_ANSWERS = re.compile(
    r"(chosen|rejected|completion|response|answer|output)(s|_.*)?"
    r"|p_chosen|margin|label|labels|label_prob|kto_tag|desirable|winner|choice|best"
    r"|correct|(score|rating|rank|reward)s?|sources|annotator|model|generator"
)


class Source(NamedTuple):
    """A model that answers, at a temperature."""

    model: str
    policy: Policy
    temperature: float
    reward: RewardFunction | None

    def __str__(self) -> str:
        """The name in rows and numbers: MODEL at T."""
        return f"{self.model} at {self.temperature:g}"


@dataclasses.dataclass(frozen=True)
class SourcedAnswers:
    """Answers of all sources, those to one prompt side by side.

    Consecutive answers are of different sources, where there are several.

    Attributes:
      prompts: the prompt of each answer [A].
      texts: the answers [A].
      sources: the name of each answer's source [A].
      scores: `reward` of each answer, and each term of a sum, [A] each; empty without a
        reward.
    """

    prompts: list[Prompt]
    texts: list[str]
    sources: list[str]
    scores: dict[str, np.ndarray]


def select_common_prompts(
    policies: Sequence[Policy],
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    note: Callable[[str], None],
    name: str,
) -> list[TokenizedPrompts]:
    """The prompts that leave every model room for an answer, as each tokenizes them.

    Args:
      note, name: as of `select_prompts`.

    Raises:
      ValueError: as `select_prompts`.
    """
    kept: list[TokenizedPrompts] = []
    for policy in policies:
        records = kept[-1].records if kept else prompts
        kept.append(select_prompts(policy, records, max_new_tokens, note, name))
    common = kept[-1].records
    if len(kept[0].records) == len(common):
        return kept
    silent = lambda _: None
    every = [select_prompts(p, common, max_new_tokens, silent, name) for p in policies]
    return every


def sample_sources(
    sources: Sequence[Source],
    prompts: Sequence[TokenizedPrompts],
    name: str,
    *,
    seed: int,
    first_prompt: int,
    samples: int,
    max_new_tokens: int,
    mesh: Mesh | None,
) -> SourcedAnswers:
    """Samples answers to each prompt from each source, and scores them.

    Args:
      prompts: the same prompts, as each source's model tokenizes them.
      name: of the split, and of the random stream.
      first_prompt: index of the first; a prompt that comes again gets other answers.
      samples: answers to each prompt by each source.
    """
    answers, scores = [], []
    for i, (source, tokenized) in enumerate(zip(sources, prompts, strict=True)):
        numbers = (first_prompt, i) if i else (first_prompt,)
        key = streams.key(jax.random.key(seed), f"collect {name}", *numbers)
        sampled = rollouts.sample_answers(
            source.policy,
            tokenized,
            key,
            max_new_tokens=max_new_tokens,
            samples=samples,
            temperature=source.temperature,
        )
        answers.append(sampled)
        if source.reward is not None:
            score = reward_functions.score_terms(source.reward, sampled, mesh=mesh)
            scores.append(score)
    order = range(len(answers[0].texts))
    return SourcedAnswers(
        prompts=[each.prompts[row] for row in order for each in answers],
        texts=[each.texts[row] for row in order for each in answers],
        sources=[str(source) for _ in order for source in sources],
        scores={
            term: np.stack([score[term] for score in scores], axis=1).reshape(-1)
            for term in (scores[0] if scores else {})
        },
    )


def reward_numbers(answers: SourcedAnswers) -> dict[str, float]:
    """The mean reward of all answers, and of each source's where there are several.

    Of a weighted sum also the mean and the spread of each term.
    """
    numbers: dict[str, float] = {}
    for name, values in answers.scores.items():
        if name == "reward":
            numbers["reward"] = float(np.mean(values))
            continue
        numbers[f"{name}/mean"] = float(np.mean(values))
        numbers[f"{name}/std"] = float(np.std(values, ddof=1))
    named = np.array(answers.sources)
    names = list(dict.fromkeys(answers.sources))
    if len(names) > 1 and answers.scores:
        for name in names:
            own = answers.scores["reward"][named == name]
            numbers[f"reward/{name}"] = float(np.mean(own))
    return numbers


def row_fields(prompt: Prompt) -> dict[str, Any]:
    """Fields of a written row: the prompt, its tools, and the metadata of its row.

    Fields that speak of the row's own answers (`dropped_fields`) are left out: new
    answers are not what they speak of.
    """
    own = prompt_fields(prompt)
    kept = {k: v for k, v in prompt.fields.items() if not OF_ANSWERS.fullmatch(k)}
    return {k: v for k, v in kept.items() if k not in own} | own


def dropped_fields(prompts: Sequence[Prompt]) -> list[str]:
    """Names of fields that speak of the rows' own answers."""
    names = {name for prompt in prompts for name in prompt.fields}
    return sorted(filter(OF_ANSWERS.fullmatch, names))
