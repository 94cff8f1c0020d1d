"""Answers of several models and temperatures: their order, sources and rows."""

import dataclasses

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.pipeline import answer_sources, rollouts
from jaxalign.pipeline.answer_sources import Source, SourcedAnswers

ASKED = [Prompt([{"role": "user", "content": x}], location=x) for x in "ab"]


@dataclasses.dataclass
class Answers:
    """Sampled answers as `rollouts.sample_answers` gives them."""

    prompts: list
    texts: list


def test_consecutive_answers_are_of_different_sources(monkeypatch):
    keys = []

    def sample(policy, prompts, key, *, samples, temperature, **_):
        keys.append(str(key))
        rows = [
            (p, f"{policy}{temperature:g}-{p.location}{i}")
            for p in prompts
            for i in range(samples)
        ]
        return Answers(*map(list, zip(*rows, strict=True)))

    def score(reward, answers, mesh):
        return {"reward": reward + np.arange(len(answers.texts))}

    monkeypatch.setattr(rollouts, "sample_answers", sample)
    monkeypatch.setattr(answer_sources.reward_functions, "score_terms", score)
    sources = [Source("old", "O", 1.0, 0.0), Source("new", "N", 0.5, 100.0)]
    found = answer_sources.sample_sources(
        sources,
        [ASKED, ASKED],
        "train",
        seed=0,
        first_prompt=0,
        samples=2,
        max_new_tokens=8,
        mesh=None,
    )
    assert found.texts == [
        *("O1-a0", "N0.5-a0", "O1-a1", "N0.5-a1"),
        *("O1-b0", "N0.5-b0", "O1-b1", "N0.5-b1"),
    ]
    assert found.sources == ["old at 1", "new at 0.5"] * 4
    assert [p.location for p in found.prompts] == ["a"] * 4 + ["b"] * 4
    assert found.scores["reward"].tolist() == [0, 100, 1, 101, 2, 102, 3, 103]
    assert len(set(keys)) == 2  # no two sources share their noise
    numbers = answer_sources.reward_numbers(found)
    assert numbers == {
        "reward": 51.5,
        "reward/old at 1": 1.5,
        "reward/new at 0.5": 101.5,
    }


def test_one_source_needs_no_numbers_of_its_own():
    one = SourcedAnswers(ASKED, ["x", "y"], ["m at 1"] * 2, {"reward": np.ones(2)})
    assert answer_sources.reward_numbers(one) == {"reward": 1.0}


def test_a_row_keeps_its_fields_but_not_what_they_say_of_its_own_answers():
    fields = {"category": "code", "source": "web", "margin": 2.0, "chosen_unsafe": True}
    fields |= {"prompt": "another", "answers": ["x"], "rank": 3, "scoreboard": "kept"}
    prompt = dataclasses.replace(ASKED[0], fields=fields)
    assert answer_sources.row_fields(prompt) == {
        "category": "code",
        "source": "web",
        "scoreboard": "kept",
        "prompt": ASKED[0].messages,
    }
    dropped = ["answers", "chosen_unsafe", "margin", "rank"]
    assert answer_sources.dropped_fields([prompt]) == dropped


def test_every_model_gets_the_prompts_that_fit_all(monkeypatch):
    """A prompt too long for one model is answered by none."""
    longest = {"small": 1, "large": 9}

    def select(policy, records, max_new_tokens, note, name):
        fitting = [
            r for r in records if len(r.messages[0]["content"]) <= longest[policy]
        ]
        note(f"{policy}: {len(fitting)} of {len(records)}")
        return answer_sources.TokenizedPrompts(fitting, [[0]] * len(fitting))

    monkeypatch.setattr(answer_sources, "select_prompts", select)
    long = Prompt([{"role": "user", "content": "long"}])
    for policies in (["large", "small"], ["small", "large"]):
        notes = []
        found = answer_sources.select_common_prompts(
            policies, [*ASKED, long], 8, notes.append, "train"
        )
        assert [each.records for each in found] == [ASKED, ASKED]
        assert "small: 2 of 3" in notes and len(notes) == 2
