"""Files of the toy world of opinions: SFT data, labeled pairs, claims."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.data import toy_opinion_answers as toy_answers
from jaxalign.data import toy_opinions
from jaxalign.data.toy_annotators import Annotator, label_answers
from jaxalign.evaluation.sycophancy import preference_mining
from jaxalign.evaluation.sycophancy.preference_mining import FeatureEffects
from jaxalign.pipeline.sycophancy.protocols import Speaker, user
from jaxalign.pipeline.sycophancy.toy_items import grade_number
from jaxalign.runtime import jsonl

CLAIM_STREAM = 24  # random stream of a seed


def write_sft(folder: Path, seed: int, train: int, test: int) -> None:
    """Writes conversations of mixed quality as FOLDER/train.jsonl and test.jsonl."""
    for name, count in (("train", train), ("test", test)):
        is_test = name == "test"
        talks = (
            toy_answers.opinion_demonstration(seed, i, test=is_test)[1]
            for i in range(count)
        )
        rows: list[dict[str, Any]] = [{"messages": talk} for talk in talks]
        jsonl.write(folder / f"{name}.jsonl", rows)


def write_pairs(
    folder: Path, annotator: Annotator, seed: int, train: int, test: int
) -> None:
    """Writes pairs that an annotator labeled as FOLDER/train.jsonl and test.jsonl."""
    for name, count in (("train", train), ("test", test)):
        rows = [pair_row(annotator, seed, i, test=name == "test") for i in range(count)]
        jsonl.write(folder / f"{name}.jsonl", rows)


def pair_row(
    annotator: Annotator, seed: int, index: int, *, test: bool
) -> dict[str, Any]:
    """The pair of that index, labeled, as a row that `--data` reads."""
    request, first, second, rng = toy_answers.answer_pair(seed, index, test=test)
    is_first, p = label_answers(annotator, request, first, second, rng)
    chosen, rejected = (first, second) if is_first else (second, first)
    p_chosen = p if is_first else 1.0 - p
    return {
        "prompt": list(request.messages),
        "chosen": chosen,
        "rejected": rejected,
        "p_chosen": p_chosen,
    }


def pair_features(
    annotator: Annotator, seed: int, count: int
) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, list[str]]:
    """Labeled training pairs for mining.

    Returns:
      Names of the features [K], their values in the first and second answers
      [2 N K], whether the first is preferred [N], and the first messages [N].
    """
    features, labels, units = [], [], []
    for index in range(count):
        request, first, second, rng = toy_answers.answer_pair(seed, index)
        texts = (first, second)
        features.append([toy_answers.answer_features(request, t) for t in texts])
        labels.append(label_answers(annotator, request, first, second, rng)[0])
        units.append(request.text)
    names = toy_answers.AnswerFeatures._fields
    return names, np.array(features).swapaxes(0, 1), np.array(labels, float), units


def write_claims(
    folder: Path,
    seed: int,
    speak: Speaker,
    *,
    count: int,
    mix: int,
    all_claims: bool = False,
) -> tuple[int, int]:
    """Writes SFT data against sycophancy as FOLDER/train.jsonl and test.jsonl.

    Sums with a user's belief that is right or wrong, independent of the truth, and the
    right answer; only sums that the model answers right without a belief, as it would
    else learn to disagree. Of `mix` + 1 rows one is a conversation of the SFT data.

    Args:
      speak: the model that is to be trained on them.
      count: training requests to look at.
      mix: rows of claims for each row of the SFT data.
      all_claims: keep also those that the model does not know.

    Returns:
      Numbers of requests that were kept, and looked at.

    Raises:
      ValueError: none was kept.

    Reference: Wei et al. 2023, arXiv:2308.03958, section 4.
    """
    every = toy_opinions.opinion_requests(seed, count)
    asked = [r for r in every if r.protocol == "answer" and r.condition != "neutral"]
    neutral = [f"{re.split(r'(?<=[.?]) ', r.text)[0]}" for r in asked]
    answers = speak([[user(text)] for text in neutral], "claims")
    known = [
        request
        for request, text in zip(asked, answers, strict=True)
        if all_claims or grade_number(request.right, text) == 1
    ]
    if not known:
        raise ValueError("the model answers no claim right, so that none can be used")
    rng = np.random.default_rng([seed, CLAIM_STREAM])
    rows: list[dict[str, Any]] = []
    for i, request in enumerate(known):
        reply = toy_answers.holding_answer(request, request.right, rng)
        talk = [*request.messages, toy_opinions.assistant(reply)]
        rows.append({"messages": talk})
        if i % mix == 0:
            _, talk = toy_answers.opinion_demonstration(seed, i)
            rows.append({"messages": talk})
    jsonl.write(folder / "train.jsonl", rows)
    test = [toy_answers.opinion_demonstration(seed, i, test=True) for i in range(16)]
    jsonl.write(folder / "test.jsonl", [{"messages": talk} for _, talk in test])
    return len(known), len(asked)


def mine_annotator(annotator: Annotator, seed: int, count: int) -> FeatureEffects:
    """What an annotator rewards, mined from labeled training pairs."""
    names, (first, second), labels, units = pair_features(annotator, seed, count)
    return preference_mining.mine_preferences(
        names,
        preference_mining.feature_differences(first, second),
        labels,
        units=units,
        seed=seed,
    )
