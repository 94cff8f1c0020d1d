"""MT-Bench runs of tiny models: ratings, pairs, resumption."""

import dataclasses
import json

import pytest

from experiments import mt_bench
from jaxalign.pipeline import model_folders
from tests.support import mt_bench_files, tiny_judge


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mt_bench")
    model_folders.save(folder / "policy", tiny_judge.make_judge())
    mt_bench_files.write(folder)
    return folder


def config_of(base, out, **flags):
    folder = str(base / "policy")
    shared = {"model": folder, "judge": folder, "max_new_tokens": 8, "judge_tokens": 8}
    files = {
        "questions": base / "question.jsonl",
        "judge_prompts": base / "judge_prompts.jsonl",
    }
    return mt_bench.Config(**shared | files | {"out": out, "rows": 2} | flags)


def read_rows(path):
    return list(map(json.loads, path.read_text().splitlines()))


def test_two_turns_are_rated_and_compared(base, tmp_path):
    config = config_of(base, tmp_path / "run", baseline=str(base / "policy"))
    numbers = mt_bench.main(config)
    # two questions of two turns and one of one; a random judge writes no [[7]]
    assert numbers["ratings"] + numbers["unparsable"] == 5
    assert numbers["unparsable"] == 5 and numbers["unparsable_pairs"] == 5
    notes = (config.out / "notes.json").read_text()
    assert "none of 5 texts of the judge holds a rating" in notes
    assert "1 questions of math, reasoning or coding lack a reference" in notes
    rows = read_rows(config.out / "answers.jsonl")
    # the same model at the same seed: but for the name of the stream, the same answers
    assert [len(row["answers"]) for row in rows] == [2, 2, 1]
    written = json.loads((config.out / "mt_bench.json").read_text())
    assert set(written["single"]["categories"]) == {"writing", "math", "coding"}
    assert written["pairs"]["all"]["win_rate"]["mean"] is None
    assert written["without_reference"] == 1
    # what is there is not made again: the judge's texts are replaced by hand
    ratings = config.out / "ratings.jsonl"
    made = [row | {"rating": 6.0} for row in read_rows(ratings)]
    ratings.write_text("".join(json.dumps(row) + "\n" for row in made))
    again = mt_bench.main(dataclasses.replace(config, resume=True))
    assert again["score"].mean == again["turn_1"].mean == 6.0
    assert "6" in (config.out / "report.md").read_text()


def test_a_judge_without_room_is_refused_with_the_flag(base, tmp_path):
    config = config_of(base, tmp_path / "run", judge_tokens=512)
    with pytest.raises(ValueError, match="--judge-tokens 512 leaves no room for a pro"):
        mt_bench.main(config)
