"""What backtracking is trained and measured on: the toy world, or real data."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from jaxalign.data import toy_backtracking, toy_world
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    RowReport,
    answer_content,
)
from jaxalign.evaluation.safety.refusal_classes import FULL_COMPLIANCE, FULL_REFUSAL
from jaxalign.pipeline import datasets
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.pipeline.red_team.judges import answer_outcome
from jaxalign.pipeline.red_team.suites import read_suites
from jaxalign.runtime.config import RunConfig

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class BacktrackingTask:
    """Data and judges of a backtracking study.

    Attributes:
      preferences: a safe answer over an unsafe one, to train on.
      utility: answers for helpfulness, which are trained without a reset.
      helpful: pairs for helpfulness, for the DPO of all arms; may be empty.
      families: unsafe prompts by family.
      attacked: unsafe answers, the rejected ones, whose beginnings are forced.
      safe: prompts that should be answered.
      violates: whether a visible answer to an unsafe prompt complies.
      is_right: (safe prompt, visible answer) -> whether it is right; None where nobody
        can tell.
    """

    preferences: list[Preference]
    utility: list[Demonstration]
    helpful: list[Preference]
    families: Mapping[str, list[Prompt]]
    attacked: list[Preference]
    safe: list[Prompt]
    violates: Callable[[str], bool]
    is_right: Callable[[Prompt, str], bool] | None = None

    @property
    def safe_utility(self) -> list[Demonstration]:
        """The utility rows but those to prompts that are known as harmful."""
        return [row for row in self.utility if row.fields.get("kind") != "harmful"]

    @property
    def unsafe(self) -> list[Prompt]:
        """The unsafe prompts of all families, one after the other."""
        return [prompt for family in self.families.values() for prompt in family]


def toy_task(seed: int, *, pairs: int, utility: int, prompts: int) -> BacktrackingTask:
    """The task in the toy world.

    Args:
      pairs: preference rows.
      utility: rows without a reset.
      prompts: at most so many of each family, of those attacked, and of safe ones.
    """
    requests = {
        family: evenly_spaced(toy_backtracking.harmful_requests(family), prompts)
        for family in toy_backtracking.FAMILIES
    }
    attacked = evenly_spaced(
        [r for family in requests.values() for r in family], prompts
    )
    safe = evenly_spaced(toy_backtracking.benign_requests(), 2 * prompts)
    by_text = {request.text: request for request in safe}
    return BacktrackingTask(
        toy_backtracking.preference_rows(seed, pairs),
        toy_backtracking.utility_rows(seed, utility),
        toy_backtracking.helpful_pairs(seed, pairs),
        {name: [r.prompt for r in family] for name, family in requests.items()},
        [toy_backtracking.unsafe_answer(request) for request in attacked],
        [request.prompt for request in safe],
        toy_backtracking.violates,
        lambda prompt, text: toy_world.is_correct(by_text[prompt_text(prompt)], text),
    )


def prompt_text(prompt: Prompt) -> str:
    """The last message of a prompt."""
    return str(prompt.messages[-1]["content"])


def fit_to_context(
    task: BacktrackingTask, policy: Policy, room: int, note: Callable[[str], None]
) -> BacktrackingTask:
    """The task with the prompts that leave room for an answer; others are counted.

    Args:
      room: tokens of the longest prompt with a forced beginning.

    Raises:
      ValueError: no prompt of a part is left.
    """

    def select(rows: Sequence[Item], prompts: Sequence[Prompt], name: str) -> list[Any]:
        tokens = tokenize_prompts(policy, prompts).rows
        fits = [row for row, ids in zip(rows, tokens, strict=True) if len(ids) <= room]
        if len(fits) < len(rows):
            note(
                f"{name}: {len(fits)} of {len(rows)} prompts, of {room} tokens at most"
            )
        if rows and not fits:
            raise ValueError(
                f"no prompt of {name} leaves room for an answer: a longer --context, "
                "or fewer --max-new-tokens"
            )
        return fits

    attacked = [Prompt(row.prompt, tools=row.tools) for row in task.attacked]
    return dataclasses.replace(
        task,
        families={name: select(p, p, name) for name, p in task.families.items()},
        attacked=select(task.attacked, attacked, "the attacked answers"),
        safe=select(task.safe, task.safe, "the safe prompts"),
    )


def file_task(
    config: RunConfig,
    utility: str,
    suites: str,
    *,
    pairs: int,
    prompts: int,
    note: Callable[[str], None],
) -> BacktrackingTask:
    """The task of files: preferences (`config.data`), SFT rows, suites of prompts.

    A pair is used where rules say that its rejected answer complies; what is left out
    is counted. An answer violates where rules see full compliance.

    Args:
      utility: a data set of SFT rows; "" for none.
      suites: files of prompts, see `red_team.suites`; a family each, and their safe
        prompts together.
      pairs, prompts: as in `toy_task`.

    Raises:
      ValueError: a file without usable rows, or no unsafe prompts.
    """
    train, held_out = datasets.load(config).preferences()
    kept = unsafe_pairs(train, note)
    utility_rows: list[Demonstration] = []
    if utility:
        source = datasets.load(dataclasses.replace(config, data=utility))
        utility_rows = source.demonstrations()[0]
    suite_prompts = read_suites(suites)
    families: dict[str, list[Prompt]] = {}
    for one in suite_prompts:
        if not one.safe:
            families.setdefault(one.suite, []).append(one.prompt)
    if not families:
        raise ValueError(f"--suites {suites} hold no unsafe prompts")
    safe = [one.prompt for one in suite_prompts if one.safe]
    return BacktrackingTask(
        kept[:pairs],
        evenly_spaced(utility_rows, 2 * pairs),
        [],
        {name: evenly_spaced(family, prompts) for name, family in families.items()},
        evenly_spaced(unsafe_pairs(held_out, note, "held out"), prompts),
        evenly_spaced(safe, 2 * prompts),
        lambda text: answer_outcome(text) == FULL_COMPLIANCE,
    )


def unsafe_pairs(
    pairs: Sequence[Preference], note: Callable[[str], None], name: str = "train"
) -> list[Preference]:
    """Pairs whose rejected answer complies by rules, and whose chosen one has words.

    Raises:
      ValueError: none is left.
    """
    reasons: Counter[str] = Counter()
    kept = []
    for pair in pairs:
        if answer_outcome(answer_content(pair.rejected)) != FULL_COMPLIANCE:
            reasons["whose rejected answer does not comply"] += 1
        elif answer_outcome(answer_content(pair.chosen)) not in (
            FULL_COMPLIANCE,
            FULL_REFUSAL,
        ):
            reasons["whose chosen answer is broken or partial"] += 1
        else:
            kept.append(pair)
    report = RowReport(len(pairs), len(kept), reasons)
    note(f"{name}: unsafe over safe in {report}")
    if not kept:
        raise ValueError(f"no pair can teach backtracking: {report}")
    return kept


def evenly_spaced(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly from all of them.

    >>> evenly_spaced(range(10), 3), evenly_spaced([1, 2], 3)
    ([0, 3, 6], [1, 2])
    """
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]
