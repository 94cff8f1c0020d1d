"""Own rewards and sums as a user runs them, at a tiny size."""

import json

import numpy as np
import pytest

from experiments import best_of_n, grpo, online_dpo, ppo, score, winners
from jaxalign.training import metrics
from tests.support import untrained

SMALL = {"mesh": "data=1", "max_new_tokens": 6, "steps": 2, "eval_rows": 8}
GROUPS = {**SMALL, "prompts": 4, "samples": 4}
FILE = """
from jaxalign.rewards import rule_based

def length(prompts, answers):
    return [rule_based.length_reward(len(a.split()), target=10) for a in answers]

def characters(prompts, answers):
    return [len(answer) / 10 for answer in answers]

def level(prompts, answers, *, references, columns):
    assert all(r[0] == f"ref {n}" for r, n in zip(references, columns["level"]))
    return columns["level"]

def raises(prompts, answers, *, level):
    return [1 / (n - 3) for n in level]
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return str(untrained.save(tmp_path_factory.mktemp("base") / "policy"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rewards") / "my.py"
    path.write_text(FILE)
    return path


@pytest.fixture
def rows(tmp_path):
    """Prompts with a reference and a level from 1 to 8."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": f"say {n}", "answer": f"ref {n}", "level": n} for n in range(1, 9)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def steps(folder):
    """The steps of a run, without what depends on the clock."""
    timed = ("seconds", "per_second", "memory")
    return [
        {name: x for name, x in line.items() if not any(t in name for t in timed)}
        for line in metrics.read_steps(folder)
    ]


@pytest.mark.slow
def test_a_file_equals_the_same_built_in_reward(base, file, tmp_path):
    """The same bits, and the reward's own mean and deviation beside them."""
    config = {"model": base, **GROUPS}
    grpo.main(grpo.Config(**config, reward="length:10", out=tmp_path / "built_in"))
    grpo.main(grpo.Config(**config, reward=f"{file}:length", out=tmp_path / "file"))
    built_in, own = steps(tmp_path / "built_in"), steps(tmp_path / "file")
    assert len(own) == 2
    for expected, found in zip(built_in, own, strict=True):
        names = {"rewards/length/mean", "rewards/length/std"}
        assert found.keys() - expected.keys() == names
        assert {k: found[k] for k in expected} == expected
        assert found["rewards/length/mean"] == found["reward"]
        assert found["rewards/length/std"] > 0


def test_weighted_sums_and_functions_from_python(base, file, tmp_path):
    """reward = 0.5 length + 2 characters, in metrics of every online method."""

    def characters(prompts, answers):
        return [len(answer) / 10 for answer in answers]

    weights = {"length:10": 0.5, characters: 2.0}
    written = f"length:10=0.5,{file}:characters=2"
    runs = {
        "grpo": (grpo, GROUPS, written, None),
        "online_dpo": (online_dpo, GROUPS, "programmed", weights),
        "ppo": (ppo, {**SMALL, "batch": 8}, "programmed", weights),
    }
    for name, (program, sizes, reward, passed) in runs.items():
        out = tmp_path / name
        config = program.Config(model=base, **sizes, reward=reward, out=out)
        program.main(config, reward=passed)
        for line in steps(out):
            length, characters_mean = (
                line[f"rewards/{k}/mean"] for k in ("length:10", "characters")
            )
            # means of float32 sums: 1e-6 of numbers about 1
            np.testing.assert_allclose(
                line["reward"], 0.5 * length + 2 * characters_mean, atol=1e-6
            )


def test_columns_and_references_arrive_and_rows_are_named(base, file, rows, tmp_path):
    config = {"model": base, "data": rows, "held_out": 0.0, **GROUPS}
    grpo.main(grpo.Config(**config, reward=f"{file}:level", out=tmp_path / "level"))
    for line in steps(tmp_path / "level"):  # each a mean over 4 of the levels 1 to 8
        assert 2.5 <= line["reward"] <= 6.5
        assert line["informative"] == 0.0
    config |= {"prompts": 8, "out": tmp_path / "raises"}
    with pytest.raises(ValueError) as caught:
        grpo.main(grpo.Config(**config, reward=f"{file}:raises"))
    assert f"{file}:raises raised ZeroDivisionError" in str(caught.value)
    assert "rows.jsonl:3" in str(caught.value)


def test_normalization_is_of_each_reward(base, file, tmp_path):
    """Logged rewards do not change; the update does, and the spread counts no more."""
    reward = f"length:10=1,{file}:characters=100"
    config = {"model": base, **GROUPS, "steps": 1, "reward": reward}
    lines = {}
    for kind in ("none", "group", "batch"):
        out = tmp_path / kind
        grpo.main(grpo.Config(**config, reward_normalization=kind, out=out))
        (lines[kind],) = steps(out)
    assert len({line["reward"] for line in lines.values()}) == 1
    assert len({line["grad_norm"] for line in lines.values()}) == 3
    other = {**SMALL, "model": base, "batch": 8, "out": tmp_path / "ppo"}
    with pytest.raises(ValueError, match="each prompt has one: choose batch"):
        ppo.main(ppo.Config(**other, reward_normalization="group"))


def test_best_answers_by_a_function(base, file, tmp_path):
    """A function gives the numbers of the same one by its name, and selects rows."""
    longest = lambda prompts, answers: [len(answer) / 10 for answer in answers]
    sizes = {"mesh": "data=1", "model": base, "max_new_tokens": 6, "samples": 4}
    numbers = []
    for name, reward in {"file": None, "passed": longest}.items():
        config = best_of_n.Config(
            **sizes, prompts=8, reward=f"{file}:characters", out=tmp_path / name
        )
        (*_, last) = best_of_n.main(config, reward=reward)
        numbers.append(last["proxy reward"].mean)
    assert numbers[0] == numbers[1] > 0
    config = winners.Config(
        **sizes, prompts=32, held_out_prompts=32, out=tmp_path / "winners"
    )
    try:
        winners.main(config, reward=longest)
    except ValueError as error:  # an untrained policy may end no answer
        assert "no answer ended" in str(error)
        return
    written = (tmp_path / "winners" / "best" / "train.jsonl").read_text()
    for line in written.splitlines():
        row = json.loads(line)
        answer = row["messages"][-1]["content"]
        assert row["reward"] == pytest.approx(len(answer) / 10)


def test_given_answers_are_scored_by_functions_and_sums(file, tmp_path):
    """Characters 3 and 7, levels 1 and 2: 10 c + 1 l is 4 and 9."""
    rows = [
        {"prompt": "p", "answer": "abc", "level": 1, "reference": "x"},
        {"prompt": "q", "answer": "abcdefg", "level": 2, "reference": "y"},
    ]
    data = tmp_path / "answers.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    level = tmp_path / "level.py"
    level.write_text("def level(prompts, answers, *, level): return level")
    config = score.Config(
        reward=f"{file}:characters=10,{level}:level=1",
        **{"data": str(data), "mesh": "data=1", "out": tmp_path / "out"},
        **{"length_bins": 2, "examples": 1},
    )
    assert score.main(config)["mean"].mean == pytest.approx(6.5)
    with pytest.raises(ValueError, match="there is no file"):
        score.main(score.Config(reward="nowhere.py:f", data=str(data)))
