"""Public data sets: one row each, in the published schema."""

import pytest

from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Unpaired


def user(text):
    return [{"role": "user", "content": text}]


def completion(response, score):
    aspect = {"Rating": "4", "Rationale": "..."}
    return {
        "annotations": {"helpfulness": aspect, "honesty": aspect},
        "custom_system_prompt": "You are helpful.",
        "model": "alpaca-7b",
        "principle": "helpfulness",
        "response": response,
        "critique": "...",
        "overall_score": score,
        "fine-grained_score": 3.5,
    }


ULTRAFEEDBACK = {
    "source": "evol_instruct",
    "instruction": "q",
    "models": ["alpaca-7b", "bard", "gpt-4", "llama-2-7b-chat"],
    "completions": [
        completion("poor", 2.0),
        completion("best", 9.0),
        completion("good", 7.5),
        completion("as poor", 2.0),
    ],
    "correct_answers": ["None"],
    "incorrect_answers": ["None"],
}
BINARIZED = {
    "prompt": "q",
    "prompt_id": "f0e3",
    "chosen": [*user("q"), {"role": "assistant", "content": "best"}],
    "rejected": [*user("q"), {"role": "assistant", "content": "poor"}],
    "messages": [*user("q"), {"role": "assistant", "content": "best"}],
    "score_chosen": 9.0,
    "score_rejected": 2.0,
}
SHP = {
    "post_id": "qt3nxl",
    "domain": "askculinary_train",
    "upvote_ratio": 0.98,
    "history": "q",
    "c_root_id_A": "hkh25sc",
    "c_root_id_B": "hkh25lp",
    "created_at_utc_A": 1636822112,
    "created_at_utc_B": 1636822110,
    "score_A": 340,
    "score_B": 166,
    "human_ref_A": "best",
    "human_ref_B": "poor",
    "labels": 1,
    "seconds_difference": 2.0,
    "score_ratio": 2.048,
}
HELPSTEER2 = {
    "split": "train",
    "prompt": "q",
    "response_1": "poor",
    "response_2": "best",
    "preference_strength": 2,
    "preference_statement": "@Response 2 is better than @Response 1",
    "preference_elaboration": "...",
}
POST = {
    "id": "t3_1",
    "post": "I lost it.",
    "title": "Lost",
    "subreddit": "advice",
    "site": None,
    "article": None,
}
TLDR = {
    "info": POST,
    "summaries": [
        {"text": " best", "policy": "sup2", "note": None},
        {"text": " poor", "policy": "ref", "note": None},
    ],
    "choice": 0,
    "worker": "w",
    "batch": "batch3.json",
    "split": "train",
    "extra": {"confidence": None},
}
ASKED = "SUBREDDIT: r/advice\n\nTITLE: Lost\n\nPOST: I lost it.\n\nTL;DR:"
PAIRS = {
    "shp": (SHP, "q", ("best", "poor")),
    "shp, B": (
        SHP | {"labels": 0, "human_ref_A": "poor", "human_ref_B": "best"},
        "q",
        ("best", "poor"),
    ),
    "helpsteer2": (HELPSTEER2, "q", ("best", "poor")),
    "helpsteer2, first": (
        HELPSTEER2
        | {"preference_strength": -1, "response_1": "best", "response_2": "poor"},
        "q",
        ("best", "poor"),
    ),
    "tldr": (TLDR, ASKED, (" best", " poor")),
    "tldr, second": (TLDR | {"choice": 1}, ASKED, (" poor", " best")),
    "ultrafeedback binarized": (BINARIZED, "q", ("best", "poor")),
}


# fields of the prompt, the answers and the preference; of `info` only the texts
READ = {
    *("prompt", "chosen", "rejected", "messages", "history", "labels", "summaries"),
    *("human_ref_A", "human_ref_B", "response_1", "response_2", "choice", "info"),
    "preference_strength",
}


def metadata(row):
    """Metadata fields of a row."""
    others = {k: v for k, v in row.items() if k not in READ}
    if "info" in row:
        others["info"] = {k: row["info"][k] for k in ("id", "subreddit", "site")}
    return others


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_of_public_data_sets(name, tmp_path, jsonl):
    row, prompt, (chosen, rejected) = PAIRS[name]
    path = jsonl(tmp_path / "rows.jsonl", row)
    location = f"{path}:1"
    pairs, report = readers.read(path, Preference)
    others = metadata(row)
    assert pairs == [
        Preference(user(prompt), chosen, rejected, 0.0, location, fields=others)
    ]
    assert str(report) == "1 of 1 rows"
    (example,), _ = readers.read(path, Demonstration)
    assert example.messages[-1]["content"] == chosen
    assert example.fields == others
    assert readers.read(path, Prompt)[0] == [
        Prompt(user(prompt), location, (chosen,), fields=others)
    ]
    assert not readers.has_ranking_rows(path)


def test_ultrafeedback_ranks_four_answers_by_their_scores(tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", ULTRAFEEDBACK)
    (ranking,), _ = readers.read(path, Ranking)
    # of the two with a score of 2 the first is ranked
    answers = ("best", "good", "poor")
    scores = [
        {"model": "alpaca-7b", "overall_score": score, "fine-grained_score": 3.5}
        for score in (2.0, 9.0, 7.5, 2.0)
    ]
    names = ("source", "models", "correct_answers", "incorrect_answers")
    others = {"completions": scores} | {k: ULTRAFEEDBACK[k] for k in names}
    assert ranking == Ranking(user("q"), answers, f"{path}:1", fields=others)
    assert readers.has_ranking_rows(path)
    pairs, report = readers.read(path, Preference)
    answers = [(p.chosen, p.rejected) for p in pairs]
    assert answers == [("best", "good"), ("best", "poor"), ("good", "poor")]
    assert str(report) == "1 of 1 rows"
    (example,), _ = readers.read(path, Demonstration)
    assert example.messages[-1]["content"] == "best"
    answers, _ = readers.read(path, Unpaired)
    assert [(t.answer, t.desirable) for t in answers] == [
        ("best", True),
        ("poor", False),
    ]


def test_helpsteer2s_further_turns(tmp_path, jsonl):
    prompt = "a\n<extra_id_1>Assistant\nb\n\nb\n<extra_id_1>User\nc"
    path = jsonl(tmp_path / "rows.jsonl", HELPSTEER2 | {"prompt": prompt})
    (pair,), _ = readers.read(path, Preference)
    assert pair.prompt == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b\n\nb"},
        {"role": "user", "content": "c"},
    ]


def test_helpsteer2s_ratings_of_consecutive_rows_are_pairs(tmp_path, jsonl):
    def rated(prompt, response, helpfulness):
        return {
            "prompt": prompt,
            "response": response,
            "helpfulness": helpfulness,
            "correctness": 4,
            "coherence": 4,
            "complexity": 2,
            "verbosity": 1,
        }

    path = jsonl(
        tmp_path / "rows.jsonl",
        rated("q", "poor", 1),
        rated("q", "best", 4),
        rated("r", "alike", 3),
        rated("r", "equal", 3),
        rated("s", "best", 4),
        rated("s", "poor", 0),
    )
    pairs, report = readers.read(path, Preference)
    assert [(p.chosen, p.rejected) for p in pairs] == [("best", "poor")] * 2
    assert [p.location for p in pairs] == [f"{path}:1", f"{path}:5"]
    assert str(report) == "2 of 3 rows (1 with equal scores)"
    path = jsonl(tmp_path / "bad.jsonl", rated("q", "a", "4"), rated("q", "b", 1))
    with pytest.raises(
        ValueError,
        match="bad.jsonl:1: field 'helpfulness' is '4'; expected a finite number",
    ):
        readers.read(path, Preference)


def test_summaries_of_news_and_of_tfds(tmp_path, jsonl):
    news = TLDR | {"info": POST | {"post": None, "article": "It rained."}}
    path = jsonl(tmp_path / "rows.jsonl", news)
    (pair,), _ = readers.read(path, Preference)
    assert pair.prompt == user("It rained.\n\nTL;DR:")
    columns = {"text": [b" best", b" poor"], "policy": [b"sup2", b"ref"]}
    (pair,), _ = readers.from_tfds([TLDR | {"summaries": columns}], Preference)
    assert (pair.chosen, pair.rejected) == (" best", " poor")


BAD = [
    (ULTRAFEEDBACK | {"completions": ["x"]}, "'completions' is not a list of obj"),
    (
        ULTRAFEEDBACK | {"completions": [completion("a", None)]},
        r"'completions\[0\].overall_score' is null; expected a finite number",
    ),
    (SHP | {"human_ref_B": None}, "'human_ref_B' is null; expected text"),
    (SHP | {"labels": "A"}, "'labels' is .*; expected a finite number"),
    (
        HELPSTEER2 | {"preference_strength": None},
        "'preference_strength' is null; expected a finite number",
    ),
    (TLDR | {"choice": 2}, "'choice' is 2; expected the index"),
    (TLDR | {"info": "x"}, "'info' is not an object"),
    (TLDR | {"info": {"post": None}}, "'info.article' is null; expected text"),
]


@pytest.mark.parametrize(("row", "message"), BAD)
def test_a_malformed_row_is_named(row, message, tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", SHP, row)
    with pytest.raises(ValueError, match=f"rows.jsonl:2: field {message}"):
        readers.read(path, Preference)


def test_rows_without_a_preference_are_counted(tmp_path, jsonl):
    alike = ULTRAFEEDBACK | {"completions": [completion(x, 5) for x in "abcd"]}
    tie = HELPSTEER2 | {"preference_strength": 0}
    path = jsonl(tmp_path / "rows.jsonl", SHP, alike, tie)
    pairs, report = readers.read(path, Preference)
    assert len(pairs) == 1
    assert str(report) == "1 of 3 rows (2 with equal scores)"


def test_the_best_reply_of_real_trees_is_imitated(public_data):
    path = public_data / "oasst-trees" / "en_100_tree.jsonl"
    rankings, _ = readers.read(path, Ranking)
    examples, _ = readers.read(path, Demonstration)
    assert len(examples) == len(rankings)
    for ranking, one in zip(rankings, examples, strict=True):
        answer = {"role": "assistant", "content": ranking.answers[0]}
        assert one.messages == [*ranking.prompt, answer]
    assert readers.has_ranking_rows(path)
