"""Public preference data sets with schemas of their own.

ultrafeedback   OpenBMB, four answers with scores (binarized versions are plain pairs)
shp             Stanford, two comments on a post
helpsteer2      NVIDIA, preference annotations; for its ratings see `pair_ratings`
tldr            OpenAI, comparisons of summaries of posts or of news

HH-RLHF, UltraFeedback binarized, Alpaca and GSM8K have common schemas (see `parser`).
Scores only order the answers; they are not margins, which are in nats. Rows with equal
scores have no preference: they are skipped and counted.

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
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas.checks import (
    Row,
    preview,
    require_number,
    require_objects,
    require_text,
)

TURN_MARKER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def rank_by_score(
    prompt: Messages,
    scored: Iterable[tuple[float, Answer]],
    location: str,
    fields: Fields | None = None,
) -> Ranking:
    """Order answers by score, highest first; of equal scores, keep the first answer.

    Args:
      scored: (score, answer) pairs.
      fields: metadata from a part of the row that is read.

    Raises:
      UnusableRow: all scores are equal.
    """
    by_score: dict[float, Answer] = {}
    for score, answer in scored:
        by_score.setdefault(score, answer)
    if len(by_score) < 2:
        raise UnusableRow("with equal scores")
    answers = tuple(by_score[score] for score in sorted(by_score, reverse=True))
    return Ranking(prompt, answers, location, fields=fields or {})


def parse_ultrafeedback(row: Row, location: str) -> Ranking:
    """Parse a row of UltraFeedback: four answers with an `overall_score` each.

    The models and scores are kept as metadata. The `custom_system_prompt` differs by
    answer and is not part of the prompt, as in the binarized versions.
    """
    completions = require_objects(row["completions"], "completions")
    scored = [
        (
            require_number(
                completion.get("overall_score"), f"completions[{k}].overall_score"
            ),
            require_text(completion.get("response"), f"completions[{k}].response"),
        )
        for k, completion in enumerate(completions)
    ]
    metadata = [
        {k: v for k, v in c.items() if k == "model" or isinstance(v, int | float)}
        for c in completions
    ]
    prompt = user_messages(require_text(row["instruction"], "instruction"))
    return rank_by_score(prompt, scored, location, {"completions": metadata})


def parse_shp(row: Row, location: str) -> Ranking:
    """Parse a row of SHP: two comments; `labels` is 1 if A is preferred, else 0."""
    label = require_number(row["labels"], "labels")
    if label not in (0, 1):
        raise MalformedRow(f"field 'labels' is {preview(label)}; expected 0 or 1")
    scored = [
        (label, require_text(row["human_ref_A"], "human_ref_A")),
        (1 - label, require_text(row["human_ref_B"], "human_ref_B")),
    ]
    prompt = user_messages(require_text(row["history"], "history"))
    return rank_by_score(prompt, scored, location)


def parse_helpsteer2(row: Row, location: str) -> Ranking:
    """Parse a preference of HelpSteer2: `preference_strength` is that of answer 2."""
    strength = require_number(row["preference_strength"], "preference_strength")
    scored = [
        (-strength, require_text(row["response_1"], "response_1")),
        (strength, require_text(row["response_2"], "response_2")),
    ]
    prompt = parse_helpsteer2_prompt(require_text(row["prompt"], "prompt"))
    return rank_by_score(prompt, scored, location)


def parse_helpsteer2_prompt(prompt: str) -> Messages:
    """Parse a prompt of HelpSteer2, whose further turns begin with <extra_id_1>."""
    first, *rest = TURN_MARKER.split(prompt)
    roles = [role.lower() for role in rest[::2]]
    later = zip(roles, rest[1::2], strict=True)
    return [*user_messages(first), *({"role": r, "content": c} for r, c in later)]


def parse_tldr(row: Row, location: str) -> Ranking:
    """Parse a comparison of summaries: `choice` is the index of the preferred one."""
    info, choice = row["info"], row["choice"]
    if not isinstance(info, Mapping):
        raise MalformedRow("field 'info' is not an object")
    texts = [
        require_text(summary.get("text"), f"summaries[{k}].text")
        for k, summary in enumerate(require_objects(row["summaries"], "summaries"))
    ]
    if isinstance(choice, bool) or choice not in range(len(texts)):
        raise MalformedRow(
            f"field 'choice' is {preview(choice)}; expected the index of a summary"
        )
    scored = [(float(k == choice), text) for k, text in enumerate(texts)]
    metadata = {k: v for k, v in info.items() if k not in ("post", "title", "article")}
    prompt = user_messages(tldr_prompt(info))
    return rank_by_score(prompt, scored, location, {"info": metadata})


def tldr_prompt(info: Mapping[str, Any]) -> str:
    """Prompt for the summary of a post, or of a news article."""
    if info.get("post") is None:
        return f"{require_text(info.get('article'), 'info.article')}\n\nTL;DR:"
    title = require_text(info.get("title") or "", "info.title")
    subreddit = require_text(info.get("subreddit") or "", "info.subreddit")
    post = require_text(info["post"], "info.post")
    return f"SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"


RankingParser = Callable[[Row, str], Ranking]
# name -> fields that identify the rows of the data set, and the parser of a row
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
    """The parser of a row of a public data set, (row, location) -> ranking; or None."""
    for fields, parse in PARSERS.values():
        if fields <= row.keys():
            return parse
    return None


def derive_records(ranking: Ranking, kind: type[Record]) -> Iterator[Record]:
    """Derive records of another kind from a ranking.

    Preference: all pairs. Unpaired: the best answer as desirable, the last one as
    undesirable. Demonstration: the best answer. Prompt: with the best answer as the
    reference.
    """
    shared: dict[str, Any] = {
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
            ranking.prompt, ranking.answers[0], ranking.answers[-1], **shared
        )
        yield from unpaired_answers([best_and_worst])
    elif kind is Demonstration:
        best = assistant_message(ranking.answers[0])
        yield Demonstration([*ranking.prompt, best], **shared)
    else:
        text = answer_content(ranking.answers[0])
        yield Prompt(ranking.prompt, references=(text,) if text else (), **shared)


def pair_ratings(rows: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Join HelpSteer2's ratings of two consecutive answers to one prompt.

    In the joined row the more helpful answer is preferred, and the other ratings of
    both are metadata. All other rows are passed on unchanged.

    Args:
      rows: (location, row) pairs.

    Yields:
      (location, row) pairs. The row is replaced by an `UnusableRow` for an answer
      without a second one, and by a `MalformedRow` for a rating that is not a number.
    """
    for prompt, group in itertools.groupby(rows, key=rating_prompt):
        if prompt is None:
            yield from group
            continue
        for (location, first), other in itertools.zip_longest(group, group):
            if other is None:
                yield location, UnusableRow("rated without a second answer")
                continue
            try:
                yield location, join_ratings(first, other[1])
            except MalformedRow as error:
                yield location, error


def join_ratings(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """One preference row of two rating rows.

    Raises:
      MalformedRow: `helpfulness` is not a number.
    """
    second_score, first_score = (
        require_number(row["helpfulness"], "helpfulness") for row in (second, first)
    )
    values = {
        k: (v, second.get(k))
        for k, v in first.items()
        if k not in ("prompt", "response")
    }
    return {k: a if a == b else [a, b] for k, (a, b) in values.items()} | {
        "prompt": first["prompt"],
        "response_1": first["response"],
        "response_2": second["response"],
        "preference_strength": second_score - first_score,
    }


def rating_prompt(location_and_row: tuple[str, Any]) -> Any:
    """The prompt of a row that is a HelpSteer2 rating; None of other rows."""
    row = location_and_row[1]
    if isinstance(row, Mapping) and {"prompt", "response", "helpfulness"} <= set(row):
        return row["prompt"]
    return None


def user_messages(text: str) -> Messages:
    """A conversation of one user message."""
    return [{"role": "user", "content": text}]
