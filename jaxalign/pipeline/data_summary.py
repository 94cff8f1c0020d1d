"""Statistics of the records of a data set: what `prepare` and `inspect_data` show."""

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign.data import record_rows
from jaxalign.data.records import Preference, Ranking, Record, ranking_pairs
from jaxalign.data.splits import prompt_hashes
from jaxalign.evaluation import data_statistics, text_artifacts
from jaxalign.evaluation.intervals import Interval
from jaxalign.pipeline import row_keys


def texts_by_kind(
    records: Sequence[Record],
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The texts of records by kind, such as "prompt" and "chosen", in their order.

    Returns:
      The texts, and the location of each.
    """
    texts: dict[str, list[str]] = collections.defaultdict(list)
    locations: dict[str, list[str]] = collections.defaultdict(list)
    for record in records:
        prompt = record_rows.prompt_text(record)
        named = [("prompt", prompt)] if prompt else []
        for kind, text in [*named, *record_rows.answer_texts(record)]:
            texts[kind].append(text)
            locations[kind].append(record.location)
    return dict(texts), dict(locations)


def text_lengths(records: Sequence[Record]) -> dict[str, np.ndarray]:
    """The lengths in characters of the texts of each kind, int [R] each."""
    texts, _ = texts_by_kind(records)
    return {kind: np.array([len(t) for t in each]) for kind, each in texts.items()}


def longer_wins(records: Sequence[Record], *, seed: int = 0) -> Interval | None:
    """How often the longer answer is the chosen one, ties half; None without pairs.

    Of rankings all pairs count. The interval is over prompts (first user messages).
    """
    rankings = [r for r in records if isinstance(r, Ranking)]
    pairs = [r for r in records if isinstance(r, Preference)] + ranking_pairs(rankings)
    if not pairs:
        return None
    lengths = np.array(
        [[len(text) for _, text in record_rows.answer_texts(p)] for p in pairs]
    )
    return data_statistics.longer_wins_share(
        *lengths.T, units=prompt_hashes(pairs), seed=seed
    )


def summarize(records: Sequence[Record], *, seed: int = 0) -> dict[str, Any]:
    """Counts, lengths, "longer wins", duplicates, scripts and artifacts of records.

    Returns:
      `rows`, `prompts` (different first user messages), `duplicates` (rows equal to an
      earlier one), `contradictions` (pairs that an earlier one contradicts),
      `longer_wins`, `lengths` and `artifacts` (tables), `scripts` (shares by kind).
    """
    texts, locations = texts_by_kind(records)
    lengths = {kind: np.array([len(t) for t in each]) for kind, each in texts.items()}
    return {
        "rows": len(records),
        "prompts": len(np.unique(prompt_hashes(records))),
        "duplicates": data_statistics.duplicate_count(
            [row_keys.row_key(record) for record in records]
        ),
        "contradictions": contradictions(records),
        "longer_wins": longer_wins(records, seed=seed),
        "lengths": data_statistics.length_rows(lengths),
        "scripts": {
            kind: data_statistics.script_shares(each) for kind, each in texts.items()
        },
        "artifacts": text_artifacts.artifact_rows(texts, locations),
    }


def contradictions(records: Sequence[Record]) -> int | None:
    """The number of pairs that an earlier pair contradicts; None of other records."""
    pairs = [record for record in records if isinstance(record, Preference)]
    if not pairs:
        return None
    answers = [tuple(map(row_keys.answer_key, (p.chosen, p.rejected))) for p in pairs]
    return data_statistics.contradiction_count(
        [row_keys.prompt_key(pair) for pair in pairs], answers
    )
