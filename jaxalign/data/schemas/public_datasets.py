"""Published preference sets whose rows have fields of their own, by those fields.

ultrafeedback   OpenBMB's, four answers with scores (binarized sets are plain pairs)
shp             Stanford's, two comments on a post
helpsteer2      NVIDIA's preference annotations; of its ratings, see `pair_ratings`
tldr            OpenAI's comparisons of summaries (of posts, or of news)

HH-RLHF, UltraFeedback binarized, Alpaca and GSM8K are of layouts that `layouts`
reads.
Scores order answers and are no margins, which are in nats; where they are equal
nothing is preferred, and the row is left out and counted.

References: Cui et al. 2023, arXiv:2310.01377; Ethayarajh et al. 2022,
arXiv:2110.08420; Wang et al. 2024, arXiv:2410.01257; Stiennon et al. 2020,
arXiv:2009.01325.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data.records import (
    Answer,
    Demonstration,
    Fields,
    Messages,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
    answer_content,
    assistant_message,
    ranking_pairs,
    unpaired_answers,
)
from jaxalign.data.schemas.checks import (
    MalformedRow,
    Row,
    preview,
    require_number,
    require_objects,
    require_text,
)
from jaxalign.data.schemas.hh_dialogue import UnusableRow

TURN_MARKER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def rank_by_score(
    prompt: Messages,
    scored: Iterable[tuple[float, Answer]],
    where: str,
    fields: Fields | None = None,
) -> Ranking:
    """Answers by their scores, best first; of equal scores the first answer alone.

    Args:
      fields: what a part of the row says beside its texts.

    Raises:
      Odd: all scores are equal.
    """
    first: dict[float, Answer] = {}
    for score, answer in scored:
        first.setdefault(score, answer)
    if len(first) < 2:
        raise UnusableRow("that prefer no answer")
    answers = tuple(first[score] for score in sorted(first, reverse=True))
    return Ranking(prompt, answers, where, fields=fields or {})


def parse_ultrafeedback(row: Row, where: str) -> Ranking:
    """Four answers by `overall_score`.

    Kept of each are its model and scores. The `custom_system_prompt` differs by answer,
    and is no part of the prompt, as in the binarized sets.
    """
    answers = require_objects(row["completions"], "completions")
    scored = [
        (
            require_number(
                answer.get("overall_score"), f"completions[{k}].overall_score"
            ),
            require_text(answer.get("response"), f"completions[{k}].response"),
        )
        for k, answer in enumerate(answers)
    ]
    rest = [
        {k: v for k, v in answer.items() if k == "model" or isinstance(v, int | float)}
        for answer in answers
    ]
    asked = user_messages(require_text(row["instruction"], "instruction"))
    return rank_by_score(asked, scored, where, {"completions": rest})


def parse_shp(row: Row, where: str) -> Ranking:
    """Two comments; `labels` is 1 where A is preferred."""
    first = require_number(row["labels"], "labels")
    if first not in (0, 1):
        raise MalformedRow(f"field 'labels' should be 0 or 1, not {preview(first)}")
    scored = [
        (first, require_text(row["human_ref_A"], "human_ref_A")),
        (1 - first, require_text(row["human_ref_B"], "human_ref_B")),
    ]
    return rank_by_score(
        user_messages(require_text(row["history"], "history")), scored, where
    )


def parse_helpsteer2(row: Row, where: str) -> Ranking:
    """Two answers; `preference_strength` is negative where the first is preferred."""
    second = require_number(row["preference_strength"], "preference_strength")
    scored = [
        (-second, require_text(row["response_1"], "response_1")),
        (second, require_text(row["response_2"], "response_2")),
    ]
    return rank_by_score(
        parse_helpsteer2_prompt(require_text(row["prompt"], "prompt")), scored, where
    )


def parse_helpsteer2_prompt(prompt: str) -> Messages:
    """HelpSteer2's prompt: further turns stand after <extra_id_1>."""
    first, *rest = TURN_MARKER.split(prompt)
    roles = [role.lower() for role in rest[::2]]
    later = zip(roles, rest[1::2], strict=True)
    return [*user_messages(first), *({"role": r, "content": c} for r, c in later)]


def parse_tldr(row: Row, where: str) -> Ranking:
    """Two summaries; `choice` is the index of the preferred one."""
    info, choice = row["info"], row["choice"]
    if not isinstance(info, Mapping):
        raise MalformedRow("field 'info' should be an object")
    texts = [
        require_text(summary.get("text"), f"summaries[{k}].text")
        for k, summary in enumerate(require_objects(row["summaries"], "summaries"))
    ]
    if isinstance(choice, bool) or choice not in range(len(texts)):
        raise MalformedRow(f"field 'choice' should be an index, not {preview(choice)}")
    if info.get("post") is None:
        asked = f"{require_text(info.get('article'), 'info.article')}\n\nTL;DR:"
    else:
        title = require_text(info.get("title") or "", "info.title")
        asked = (
            f"SUBREDDIT: r/{require_text(info.get('subreddit') or '', 'info.subreddit')}\n\n"
            f"TITLE: {title}\n\nPOST: {require_text(info['post'], 'info.post')}\n\nTL;DR:"
        )
    scored = [(float(k == choice), text) for k, text in enumerate(texts)]
    rest = {k: v for k, v in info.items() if k not in ("post", "title", "article")}
    return rank_by_score(user_messages(asked), scored, where, {"info": rest})


RankingParser = Callable[[Row, str], Ranking]
# name: the fields that tell its rows from all others, and what reads them
PARSERS: dict[str, tuple[set[str], RankingParser]] = {
    "ultrafeedback": ({"instruction", "completions"}, parse_ultrafeedback),
    "shp": ({"history", "human_ref_A", "human_ref_B", "labels"}, parse_shp),
    "helpsteer2": (
        {"prompt", "response_1", "response_2", "preference_strength"},
        parse_helpsteer2,
    ),
    "tldr": ({"info", "summaries", "choice"}, parse_tldr),
}


def find_parser(row: Row) -> RankingParser | None:
    """What reads a row, where it is of a published set."""
    for fields, read in PARSERS.values():
        if fields <= row.keys():
            return read
    return None


def derive_records(ranking: Ranking, kind: type[Record]) -> Iterator[Record]:
    """What follows from a ranking: itself, pairs, the best answer, the prompt,
    thumbs for the best and the last."""
    told: dict[str, Any] = {
        "location": ranking.location,
        "tools": ranking.tools,
        "fields": ranking.fields,
    }
    if kind is Ranking:
        yield ranking
    elif kind is Preference:
        yield from ranking_pairs([ranking])
    elif kind is Unpaired:
        best_and_worst = Preference(
            ranking.prompt, ranking.answers[0], ranking.answers[-1], **told
        )
        yield from unpaired_answers([best_and_worst])
    elif kind is Demonstration:
        best = assistant_message(ranking.answers[0])
        yield Demonstration([*ranking.prompt, best], **told)
    else:
        text = answer_content(ranking.answers[0])
        yield Prompt(ranking.prompt, references=(text,) if text else (), **told)


def pair_ratings(rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Rows, HelpSteer2's ratings as its preferences: neighbours with one prompt.

    The more helpful answer is preferred. Of the other ratings both are kept; an answer
    without a second one is left out, and counted.
    """
    for prompt, group in itertools.groupby(rows, key=rating_prompt):
        if prompt is None:
            yield from group
            continue
        for (where, first), other in itertools.zip_longest(group, group):
            if other is None:
                yield where, UnusableRow("rated without a second answer")
                continue
            second = other[1]
            try:
                better, worse = (
                    require_number(row["helpfulness"], "helpfulness")
                    for row in (second, first)
                )
            except MalformedRow as error:
                yield where, error
                continue
            rest = first.keys() - {"prompt", "response"}
            told = {k: (first[k], second.get(k)) for k in first if k in rest}
            yield (
                where,
                {k: a if a == b else [a, b] for k, (a, b) in told.items()}
                | {
                    "prompt": prompt,
                    "response_1": first["response"],
                    "response_2": second["response"],
                    "preference_strength": better - worse,
                },
            )


def rating_prompt(where_and_row: tuple[str, Any]) -> Any:
    """The prompt of a rating, or None where the row is none."""
    row = where_and_row[1]
    if isinstance(row, Mapping) and {"prompt", "response", "helpfulness"} <= set(row):
        return row["prompt"]
    return None


def user_messages(text: str) -> Messages:
    """What the user asks."""
    return [{"role": "user", "content": text}]
