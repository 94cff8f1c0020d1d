"""What brevity is trained and measured on: the toy world, or preferences of a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from jaxalign import streams
from jaxalign.data import toy_brevity, toy_world
from jaxalign.data.records import Preference, Prompt, answer_content
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.data.toy_requests import Request
from jaxalign.pipeline import datasets, rollouts
from jaxalign.pipeline.behaviors import behavior, brevity
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import select_prompts
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.report_run import ReportRun

ENDS = (".", "?", "!")


@dataclasses.dataclass(frozen=True)
class BrevityTask:
    """Data of a study of brevity.

    Attributes:
      preferences: rows that the recipe is for.
      prompts: that answers are measured on.
      requests: of the toy world, by the prompt's text; of files there are none.
    """

    preferences: Sequence[Preference]
    prompts: Sequence[Prompt]
    requests: Mapping[str, Request]


def toy_task(seed: int, *, pairs: int, prompts: int) -> BrevityTask:
    """The task in the toy world, on requests that training lacks."""
    requests = toy_world.requests(seed, prompts, test=True)
    return BrevityTask(
        toy_brevity.preference_rows(seed, pairs),
        [request.prompt for request in requests],
        {request.text: request for request in requests},
    )


def file_task(config: RunConfig, *, pairs: int, prompts: int) -> BrevityTask:
    """The task of `--data`: its pairs, and the prompts of its held-out ones.

    Raises:
      ValueError: a malformed row, or no pairs.
    """
    train, held_out = datasets.load(config).preferences()
    asked = [
        Prompt(p.prompt, location=p.location, tools=p.tools) for p in held_out[:prompts]
    ]
    return BrevityTask(train[:pairs], asked, {})


def write_data(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    preferences: Sequence[Preference],
    *,
    seed: int,
) -> tuple[Path, dict[str, Path]]:
    """Writes what the recipe makes of preferences.

    Returns:
      The file of SFT conversations; and by their signs those of the pairs: `both`, and
      `one`, without those against a sentence that is cut.

    Raises:
      ValueError: no preferred answer has two sentences.
    """
    made = brevity.brevity(tokenizer).data(preferences, seed=seed)
    long = [pair for pair in made.pairs if is_longer(pair)]
    sft, both = behavior.write(folder, made)
    one = behavior.write_pairs(folder / "one_sign.jsonl", long)
    return sft, {"both": both, "one": one}


def is_longer(pair: Preference) -> bool:
    """Whether the rejected answer of a pair is the longer one."""
    return len(answer_content(pair.rejected)) > len(answer_content(pair.chosen))


def measure(
    policy: Policy, task: BrevityTask, run: ReportRun, *, seed: int, max_new_tokens: int
) -> dict[str, np.ndarray]:
    """Measures of a policy's answers at temperature 1, one value per prompt.

    words       of the answer
    whole       it ended, and its last sentence is not cut: 1 or 0
    reward, right
                the true reward, and whether the answer is right, of the toy world
    """
    prompts = select_prompts(policy, task.prompts, max_new_tokens, run.note, "prompts")
    answers = rollouts.sample_answers(
        policy,
        prompts,
        streams.key(jax.random.key(seed), "brevity"),
        max_new_tokens=max_new_tokens,
    )
    return answer_values(
        [str(p.messages[-1]["content"]) for p in prompts.records],
        answers.texts,
        answers.finished,
        task.requests,
    )


def answer_values(
    prompts: Sequence[str],
    texts: Sequence[str],
    finished: np.ndarray,
    requests: Mapping[str, Request],
) -> dict[str, np.ndarray]:
    """The values of `measure` for given answers [A].

    >>> answer_values(["Hi"], ["Hello. And"], np.array([True]), {})
    {'words': array([2.]), 'whole': array([0.])}
    """
    ended = [text.rstrip().endswith(ENDS) for text in texts]
    values = {
        "words": np.array([len(text.split()) for text in texts], float),
        "whole": np.array(ended, float) * finished,
    }
    if requests:
        asked = [requests[prompt] for prompt in prompts]
        rewards = toy_world.true_rewards(asked, texts, finished)
        values |= {"reward": rewards["reward"], "right": rewards["correct"]}
    return values
