"""Rankings and pairs of sampled answers: order, noise, what is left out."""

import types

import numpy as np

from jaxalign.data import readers
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Preference, Prompt, Ranking
from jaxalign.pipeline import rollouts
from jaxalign.pipeline.simulated_labels import (
    RankedAnswers,
    preference_pairs,
    rank_answers,
)
from jaxalign.runtime import jsonl

ASKED = [Prompt([{"role": "user", "content": x}], location=x) for x in "abc"]


class Answers:
    """What labels are made of sampled answers: three prompts, four answers each."""

    prompts = [p for p in ASKED for _ in range(4)]
    texts = ["w", "x", "y", "z", "w", "x", "w", "", "w", "w", "w", "w"]
    sources = ["old at 1", "new at 1"] * 6


REWARD = np.array([0.0, 3.0, 1.0, 2.0, 0.0, 1.0, 9.0, 9.0, 0.0, 1.0, 2.0, 3.0])


def noise(seed):
    """Noise that is drawn anew at each call."""
    rng = np.random.default_rng(seed)
    return lambda prompt, time: rng


def test_labels_of_a_prompt_depend_on_no_other():
    """Its noise is of its text, and of which time it comes."""
    named = lambda *numbers: np.random.default_rng([7, *numbers])
    ranked = lambda answers, reward: rank_answers(answers, reward, 1.0, 9, named)
    first, second = ranked(Answers, REWARD)

    class Second:
        prompts, texts = Answers.prompts[4:8], Answers.texts[4:8]
        sources = Answers.sources[4:8]

    (alone,) = ranked(Second, REWARD[4:8])
    np.testing.assert_array_equal(alone.places, second.places)

    class Twice:
        again = Prompt(ASKED[0].messages)  # the same text in another row
        prompts = Answers.prompts[:4] + [again] * 4
        texts = 2 * Answers.texts[:4]
        sources = 2 * Answers.sources[:4]

    once, again = ranked(Twice, np.tile(REWARD[:4], 2))
    np.testing.assert_array_equal(once.places, first.places)
    assert (again.places != once.places).any()


def test_without_noise_rankings_are_sorted_by_reward():
    first, second = rank_answers(Answers, REWARD, 1e-6, 3, noise(0))
    assert first.row()["answers"] == ["x", "z", "y", "w"]
    assert first.row()["rewards"] == [3.0, 2.0, 1.0, 0.0]
    assert first.places.tolist() == [[3, 0, 2, 1]] * 3
    # the second w and the empty answer are left out; the third prompt has one text
    assert second.row()["answers"] == ["x", "w"] and second.prompt is ASKED[1]


def test_rows_name_the_sources_where_there_are_several():
    first, _ = rank_answers(Answers, REWARD, 1e-6, 3, noise(0))
    old, new = "old at 1", "new at 1"
    assert first.row()["sources"] == [new, new, old, old]  # of x, z, y, w
    pairs = preference_pairs([first], 1.0)
    assert [pair["sources"] for pair in pairs] == [[new, old], [new, old]]

    class One(Answers):
        sources = [old] * 12

    first, _ = rank_answers(One, REWARD, 1e-6, 3, noise(0))
    assert "sources" not in first.row()
    assert "sources" not in preference_pairs([first], 1.0)[0]


def test_a_ranking_is_by_the_mean_place_over_annotators():
    places = np.array([[0, 1, 2], [2, 0, 1], [2, 1, 0], [2, 0, 1]])
    rewards = np.array([1.0, 2.0, 3.0])
    told = RankedAnswers(ASKED[0], ["a", "b", "c"], rewards, places)
    # mean places 1.5, 0.5 and 1; pairs are the first annotator's, who has a before b
    assert told.row()["answers"] == ["b", "c", "a"]
    assert told.row()["rewards"] == [2.0, 3.0, 1.0]
    (pair,) = preference_pairs([told], 1.0)
    assert (pair["chosen"], pair["rejected"]) == ("a", "b")
    np.testing.assert_allclose(pair["p_chosen"], 1 / (1 + np.e))


def test_many_annotators_agree_on_what_is_better():
    def wrong(annotators):
        told = (Answers, REWARD, 2.0, annotators, noise(4))
        drawn = [rank_answers(*told)[0].row()["rewards"] for _ in range(300)]
        return np.mean([rewards != sorted(rewards)[::-1] for rewards in drawn])

    assert wrong(200) < 0.1 < 0.5 < wrong(1)


def test_pairs_are_those_sampled_together_whatever_their_rank():
    rankings = rank_answers(Answers, REWARD, 0.5, 1, noise(1))
    rows = preference_pairs(rankings, 0.5)
    assert [{row["chosen"], row["rejected"]} for row in rows] == [
        {"w", "x"},
        {"y", "z"},
        {"w", "x"},
    ]
    for row in rows:
        better, worse = row["rewards"]
        expected = 1 / (1 + np.exp((worse - better) / 0.5))
        np.testing.assert_allclose(row["p_chosen"], expected, rtol=1e-6)


def test_any_two_of_a_ranking_are_bradley_terry():
    told = (Answers, REWARD / 2, 1.0, 1, noise(2))
    draws = [rank_answers(*told)[0].row()["answers"] for _ in range(4000)]
    # rewards 1.5 and 1: sigmoid(0.5); five standard errors of 4000 draws
    won = np.mean([a.index("x") < a.index("z") for a in draws])
    expected = 1 / (1 + np.exp(-0.5))
    assert abs(won - expected) < 5 * np.sqrt(expected * (1 - expected) / 4000)


def test_both_files_are_read_back(tmp_path):
    rankings = rank_answers(Answers, REWARD, 1.0, 2, noise(3))
    jsonl.write(tmp_path / "rankings.jsonl", [r.row() for r in rankings])
    jsonl.write(tmp_path / "pairs.jsonl", preference_pairs(rankings, 1.0))
    assert readers.has_ranking_rows(tmp_path / "rankings.jsonl")
    assert not readers.has_ranking_rows(tmp_path / "pairs.jsonl")
    found, _ = readers.read(tmp_path / "rankings.jsonl", Ranking)
    assert [list(r.answers) for r in found] == [r.row()["answers"] for r in rankings]
    pairs, _ = readers.read(tmp_path / "pairs.jsonl", Preference)
    assert len(pairs) == 3


def test_what_a_policy_spells_with_bytes_is_written_as_it_can_be_read(tmp_path):
    """No row may hold NUL, and tokens of bytes spell it."""
    tokenizer = tokenizers.train(["red blue"], vocab_size=300)
    ids = np.array([tokenizer("red\0", add_special_tokens=False).input_ids])
    drawn = types.SimpleNamespace(tokens=ids, loss_mask=np.ones_like(ids, bool))
    (text,) = rollouts.texts(types.SimpleNamespace(tokenizer=tokenizer), drawn)
    row = {"prompt": "a", "answers": [text, "blue"], "rewards": [1.0, 0.0]}
    jsonl.write(tmp_path / "x.jsonl", [row])
    ((ranking,), _) = readers.read(tmp_path / "x.jsonl", Ranking)
    assert ranking.answers[0] == "red\ufffd"
