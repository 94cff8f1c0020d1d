"""`score` as a user runs it: every kind of reward, groups, models, resuming."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import score
from jaxalign.pipeline import model_folders
from tests.support import tiny_judge, untrained


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Answers of 1 to 4 words of two models to four prompts."""
    rows = [
        {
            "prompt": f"q{i}",
            "answer": " ".join(["yes"] * (1 + (i + shift) % 4)),
            "model": model,
            "source": "web" if i < 2 else "book",
        }
        for model, shift in (("x", 0), ("y", 1))
        for i in range(4)
    ]
    path = tmp_path_factory.mktemp("answers") / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config_of(answers, out, **settings):
    settings = {"reward": "length:2", "mesh": "data=1", "length_bins": 2} | settings
    return score.Config(data=str(answers), out=out, **settings)


def test_rewards_by_field_by_length_and_by_model(answers, tmp_path):
    config = config_of(answers, tmp_path / "out")
    numbers = score.main(config)
    # |words - 2| / 2 less than 1: 1, 2, 3, 4 words have 0.5, 1, 0.5, 0; both models
    # have each once
    assert numbers["mean"].mean == 0.5 and numbers["answers"] == 8
    assert numbers["prompts"] == 4
    # deviations 0, 0.5, 0, 0.5: their mean square is 1/8
    np.testing.assert_allclose(numbers["std"].mean, np.sqrt(0.125))
    report = json.loads((tmp_path / "out/scores.json").read_text())
    assert [row["group"] for row in report["by"]["model"]] == ["x", "y"]
    book, web = report["by"]["source"]
    # x has 1 and 2 words there, y 2 and 3: (0.5 + 1 + 1 + 0.5) / 4
    assert web["mean"]["mean"] == 0.75 and book["mean"]["mean"] == 0.25
    # "yes" to "yes yes", and longer: means (1.5 / 2, 0.5 / 2)
    bins = report["length"]["bins"]
    assert [row["group"] for row in bins] == ["3-7", "11-15"]
    assert [row["mean"]["mean"] for row in bins] == [0.75, 0.25]
    (pair,) = report["models"]
    # x less y by prompt: 0.5 - 1, 1 - 0.5, 0.5 - 0, 0 - 0.5; two wins of four
    assert pair["difference"]["mean"] == 0.0 and pair["win_rate"]["mean"] == 0.5
    lines = (tmp_path / "out/scores.jsonl").read_text().splitlines()
    rows = list(map(json.loads, lines))
    assert [row["reward"] for row in rows] == [0.5, 1, 0.5, 0, 1, 0.5, 0, 0.5]
    assert rows[0]["source"] == "web" and rows[4]["model"] == "y"
    page = (tmp_path / "out/report.md").read_text()
    assert "By source" in page and "histogram.png" in page and "reward 0.000" in page


def test_every_kind_of_reward(answers, tmp_path):
    untrained.save_reward(tmp_path / "reward")
    model_folders.save(tmp_path / "judge", tiny_judge.make_judge())
    folder = str(tmp_path / "reward")
    found = {}
    for name in (folder, f"{folder},{folder}", f"judge:{tmp_path / 'judge'}"):
        out = tmp_path / str(len(found))
        found[name] = score.main(config_of(answers, out, reward=name))["mean"].mean
    one, two, rating = found.values()
    np.testing.assert_allclose(two, one, rtol=1e-6)  # the mean of equal models
    assert 1.0 <= rating <= 10.0


def test_conversations_too_long_for_a_reward_model_are_counted(tmp_path):
    folder = untrained.save_reward(tmp_path / "reward")
    data = tmp_path / "data.jsonl"
    texts = ("yes", "yes " * 400, "no")  # a context of 96 tokens
    rows = [{"prompt": "q", "answer": text} for text in texts]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = config_of(data, tmp_path / "out", reward=str(folder))
    assert score.main(config)["answers"] == 2
    (note,) = json.loads((tmp_path / "out/notes.json").read_text())
    assert note.startswith("1 of 3 conversations") and note.endswith("data.jsonl:2")
    lines = (tmp_path / "out/scores.jsonl").read_text().splitlines()
    assert [json.loads(x)["reward"] is None for x in lines] == [False, True, False]
    data.write_text(json.dumps(rows[1]))
    with pytest.raises(ValueError, match="every conversation is longer"):
        score.main(dataclasses.replace(config, out=tmp_path / "none"))


def test_scoring_goes_on_where_it_was_interrupted(answers, tmp_path, monkeypatch):
    config = config_of(answers, tmp_path / "out", rows=1)
    text = answers.read_text() * 2  # 16 answers, of which a chunk has 8
    longer = tmp_path / "longer.jsonl"
    longer.write_text(text)
    config = dataclasses.replace(config, data=str(longer))
    load, batches = score.load_scorer, []

    def stop_at_the_second(*args, **settings):
        scorer = load(*args, **settings)

        def scores(prompts, texts):
            batches.append(len(texts))
            if len(batches) == 2:
                raise KeyboardInterrupt
            return scorer(prompts, texts)

        return scores

    monkeypatch.setattr(score, "load_scorer", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        score.main(config)
    numbers = score.main(dataclasses.replace(config, resume=True))
    assert batches == [8, 8, 8] and numbers["answers"] == 16


@pytest.mark.parametrize(
    "settings, error",
    [
        (
            {"split_by": ("colour",)},
            "--split-by colour: no answer has this field; .*source",
        ),
        ({"split_by": ("modle",)}, "did you mean model"),
        ({"reward": "lenght:3"}, "--reward lenght:3"),
        ({"data": "no.jsonl"}, "no.jsonl"),
    ],
)
def test_unusable_flags(settings, error, answers, tmp_path):
    config = config_of(answers, tmp_path / "out")
    with pytest.raises((ValueError, FileNotFoundError), match=error):
        score.main(dataclasses.replace(config, **settings))
    assert not (tmp_path / "out").exists()
