"""Recipes of behaviors: pairs by hand, cuts in tokens, files that programs read."""

import json

import numpy as np
import pytest

from jaxalign.data import tokenizer as tokenizers
from jaxalign.data import toy_backtracking, toy_brevity, toy_requests
from jaxalign.data.records import Demonstration, Preference
from jaxalign.data.toy_answers import REFUSAL
from jaxalign.pipeline.behaviors import backtracking, behavior, brevity, brevity_task

PROMPT = [{"role": "user", "content": "how?"}]
# bytes: a token is a character, and a cut of two has one place
ROW = Preference(PROMPT, chosen="no", rejected="ok", location="f:1")


@pytest.fixture(scope="module")
def characters():
    return tokenizers.train(["a"], vocab_size=261)


def test_the_data_of_a_row_by_hand(characters):
    data = backtracking.backtracking(characters).data([ROW], seed=0)
    answers = [
        (d.messages[:-1], d.messages[-1]["content"]) for d in data.demonstrations
    ]
    assert answers == [(PROMPT, "o[RESET]no"), (PROMPT, "no")]
    assert [(p.prompt, p.chosen, p.rejected) for p in data.pairs] == [
        (PROMPT, "o[RESET]no", "ok"),
        (PROMPT, "no", "n[RESET]ok"),
        (PROMPT, "no", "ok"),
    ]


def test_a_pair_against_resets_without_a_reason(characters):
    answer = {"role": "assistant", "content": "hi"}
    rows = [Demonstration([*PROMPT, answer])]
    (pair,) = backtracking.utility_pairs(characters, rows, seed=0)
    assert (pair.prompt, pair.chosen, pair.rejected) == (PROMPT, "hi", "h[RESET]hi")


def test_arms_differ_in_rows_with_the_token_alone(characters):
    good = Demonstration([*PROMPT, {"role": "assistant", "content": "hi"}])
    helpful = Preference(PROMPT, "hi", "no")
    arms = backtracking.arms_data(
        backtracking.backtracking(characters), [ROW], [good], [helpful], seed=0
    )
    texts = {
        arm: [d.messages[-1]["content"] for d in data.demonstrations]
        for arm, data in arms.items()
    }
    assert texts == {"baseline": ["no", "hi"], "backtrack": ["o[RESET]no", "no", "hi"]}
    pairs = {arm: [(p.chosen, p.rejected) for p in d.pairs] for arm, d in arms.items()}
    assert pairs["baseline"] == [("no", "ok"), ("hi", "no")]
    with_reset = [("o[RESET]no", "ok"), ("no", "n[RESET]ok")]
    assert pairs["backtrack"] == [*with_reset, *pairs["baseline"]]


def test_an_answer_of_one_token_has_no_prefix(characters):
    row = Preference(PROMPT, chosen="n", rejected="ok")
    data = backtracking.backtracking(characters).data([row], seed=0)
    assert [(p.chosen, p.rejected) for p in data.pairs] == [
        ("o[RESET]n", "ok"),
        ("n", "ok"),
    ]


def test_lengths_of_prefixes_are_uniform_or_log_uniform():
    rng = np.random.default_rng(0)
    draws = [backtracking.prefix_length(5, rng) for _ in range(4000)]
    counts = np.bincount(draws, minlength=5)
    # each of 1..4 with 1/4: 1000 with a standard deviation of 27; four of them
    assert counts[0] == 0 and len(counts) == 5
    np.testing.assert_allclose(counts[1:], 1000, atol=110)
    draws = [backtracking.prefix_length(8, rng, log_uniform=True) for _ in range(4000)]
    # P(1 <= x < 2), P(2 <= x < 4), P(4 <= x < 8) of log-uniform on [1, 8): 1/3 each
    bins = np.histogram(draws, bins=[1, 2, 4, 8])[0] / 4000
    np.testing.assert_allclose(bins, 1 / 3, atol=0.03)  # four standard deviations


def test_a_cut_never_leaves_a_part_of_a_character(characters):
    rng = np.random.default_rng(0)
    cuts = {backtracking.cut_answer(characters, "é€x", rng) for _ in range(60)}
    assert cuts == {"", "é", "é€"}  # 6 bytes, cut after 1 to 5 of them


def test_what_a_row_becomes_depends_on_no_other(characters):
    rows = toy_backtracking.preference_rows(0, 4)
    recipe = backtracking.backtracking(characters)
    few, all_rows = recipe.data(rows[:2], seed=1), recipe.data(rows, seed=1)
    assert all_rows.pairs[: len(few.pairs)] == few.pairs
    assert all_rows.demonstrations[: len(few.demonstrations)] == few.demonstrations
    assert recipe.data(rows, seed=2).pairs != all_rows.pairs


def test_an_answer_that_holds_the_token_is_refused(characters):
    row = Preference(PROMPT, "no", "a[RESET]b", location="f:7")
    with pytest.raises(ValueError, match=r"f:7: an answer holds \[RESET\]"):
        backtracking.backtracking(characters).data([row], seed=0)


def test_brevity_is_a_first_sentence_and_no_half_of_one(characters):
    row = Preference(PROMPT, "No. I will not.", "ok", location="f:1")
    data = brevity.brevity(characters).data([row, ROW], seed=3)
    assert [d.messages[-1]["content"] for d in data.demonstrations] == ["No."]
    (against_long, against_cut) = data.pairs
    assert (against_long.chosen, against_long.rejected) == ("No.", "No. I will not.")
    assert against_cut.chosen == "No." and against_cut.rejected in ("N", "No")
    with pytest.raises(ValueError, match="none of 1 preference rows.*brevity"):
        brevity.brevity(characters).data([ROW], seed=0)


def test_files_of_brevity_have_one_sign_or_both(characters, tmp_path):
    rows = [Preference(PROMPT, "No. I will not.", "ok", location="f:1")]
    sft, pairs = brevity_task.write_data(tmp_path, characters, rows, seed=0)
    read = lambda path: [json.loads(line) for line in path.read_text().splitlines()]
    assert len(read(sft)) == 1 and len(read(pairs["both"])) == 2
    assert [row["rejected"] for row in read(pairs["one"])] == ["No. I will not."]


def test_wordy_rows_of_the_toy_world_have_a_right_first_sentence():
    rows = toy_brevity.preference_rows(0, 40)
    task = brevity_task.toy_task(0, pairs=1, prompts=3)
    prompts = [prompt.messages[-1]["content"] for prompt in task.prompts]
    firsts = [brevity.first_sentence(row.chosen) for row in rows]
    assert all(firsts) and "of course." not in firsts
    texts = [f"sure, {r.answer or REFUSAL}. bye" for r in task.requests.values()]
    ended = np.array([True, True, False])
    values = brevity_task.answer_values(prompts, texts, ended, task.requests)
    assert values["whole"].tolist() == [0, 0, 0] and values["right"].tolist() == [1] * 3
    texts = [text.removesuffix(" bye") for text in texts]
    values = brevity_task.answer_values(prompts, texts, ended, task.requests)
    assert values["whole"].tolist() == [1, 1, 0]
    assert values["words"].tolist() == [len(text.split()) for text in texts]


def test_files_have_the_layout_of_data_files(characters, tmp_path):
    data = backtracking.backtracking(characters).data([ROW], seed=0)
    sft, pairs = behavior.write(tmp_path, data)
    first = json.loads(sft.read_text().splitlines()[0])
    reply = {"role": "assistant", "content": "o[RESET]no"}
    assert first == {"messages": [*PROMPT, reply]}
    first = json.loads(pairs.read_text().splitlines()[1])
    assert first == {"prompt": PROMPT, "chosen": "no", "rejected": "n[RESET]ok"}


def test_no_family_has_a_request_of_training():
    families = {f: toy_backtracking.harmful_requests(f) for f in ("AB", "MI", "SST")}
    families["SR"] = toy_backtracking.harmful_requests("SR")
    texts = [r.text for family in families.values() for r in family]
    assert len(set(texts)) == len(texts) == 137
    trained = {r.text for r in toy_requests.requests(0, 3000)}
    assert trained.isdisjoint(texts)
    benign = {r.text for r in toy_backtracking.benign_requests()}
    assert trained.isdisjoint(benign) and not any(
        request.refusal_due for request in toy_backtracking.benign_requests()
    )


def test_pairs_of_the_toy_world_are_safe_over_unsafe():
    for row in toy_backtracking.preference_rows(0, 20):
        assert toy_backtracking.violates(row.rejected)
        assert not toy_backtracking.violates(row.chosen)


def test_the_toy_worlds_utility_data_are_not_clean():
    """A fifth of the requests is harmful, and 0.55 of the answers to these comply."""
    rows = toy_backtracking.utility_rows(0, 1000)
    bad = [toy_backtracking.violates(row.messages[-1]["content"]) for row in rows]
    # 110 of 1000, with a standard deviation of 10
    assert 70 < sum(bad) < 150
