"""GRPO on GSM8K rows with a reward file beside `gsm8k`, as docs/rewards.md has it."""

import json
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from experiments import grpo
from jaxalign.rewards import verifiable
from jaxalign.training import metrics
from tests.support import small_runs

DOCUMENT = Path(__file__).parents[2] / "docs" / "rewards.md"
LEVEL = """

def level(prompts, answers, *, references, columns):
    for prompt, solutions, n in zip(prompts, references, columns["level"]):
        assert f"{n} apples" in prompt[-1]["content"]
        assert solutions == [f"{n} + 1 = {n + 1}\\n#### {n + 1}"]
    return columns["level"]

def raises(prompts, answers, *, level):
    return [1 / (n - 3) for n in level]
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("gsm8k"))


@pytest.fixture
def file(tmp_path):
    """The file of the documentation, with two more functions."""
    section = DOCUMENT.read_text("utf-8").split("### Example: GSM8K")[1]
    block = re.search(r"\n    # my\.py\n((?:    .*\n|\n)+?)\n    python -m", section)
    path = tmp_path / "my.py"
    path.write_text(textwrap.dedent(block[1]) + LEVEL)
    return path


@pytest.fixture
def rows(tmp_path):
    """Four rows of GSM8K with a level from 1 to 4."""
    row = lambda n: {
        "question": f"{n} apples and 1 apple?",
        "answer": f"{n} + 1 = {n + 1}\n#### {n + 1}",
        "level": n,
    }
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(n)) + "\n" for n in range(1, 5)))
    return path


def samples(folder):
    return [json.loads(x) for x in (folder / "samples.jsonl").read_text().splitlines()]


def check_samples(folder, weights):
    """Each sample's rewards are those of its text, and the score is their sum."""
    steps = metrics.read_steps(folder)
    for step in steps:
        of_step = [row for row in samples(folder) if row["step"] == step["step"]]
        for row in of_step:
            words = len(row["answer"].split())
            assert row["rewards"]["brief"] == pytest.approx(max(0, 1 - words / 100))
            total = sum(weights[name] * x for name, x in row["rewards"].items())
            penalty = 0 if row["ended"] else 1  # --missing-eos-penalty
            assert row["score"] == pytest.approx(total - penalty, abs=1e-6)
        # the samples are all answers of the iteration: the log has their statistics
        for name in weights:
            values = np.array([row["rewards"][name] for row in of_step])
            found = step[f"rewards/{name}/mean"], step[f"rewards/{name}/std"]
            expected = values.mean(), values.std(ddof=1)
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # float32
    return steps


def test_rewards_of_four_rows_by_name(base, rows, file, tmp_path):
    """An answer with the number is right, whoever gives it; levels are the rows'."""
    weights = {"gsm8k": 0.8, "brief": 0.2, "level": 0.1}
    config = grpo.Config(
        model=str(base / "policy"),
        **{"data": "gsm8k", "data_path": str(rows), "held_out": 0.0},
        **{"prompts": 4, "samples": 2, "steps": 2, "max_new_tokens": 6},
        **{"mesh": "data=1", "sample_rows": 8, "out": tmp_path / "run"},
        reward=f"gsm8k=0.8,{file}:brief=0.2,{file}:level=0.1",
    )
    grpo.main(config)
    for step in check_samples(config.out, weights):
        # two answers to each of the levels 1 to 4: 2.5, sqrt(8 * 1.25 / 7)
        assert step["rewards/level/mean"] == pytest.approx(2.5)
        assert step["rewards/level/std"] == pytest.approx((10 / 7) ** 0.5)
        terms = sum(w * step[f"rewards/{name}/mean"] for name, w in weights.items())
        assert step["reward"] == pytest.approx(terms, abs=1e-6)
    for row in samples(config.out):
        n = int(row["prompt"][-1]["content"].split()[0])
        assert row["rewards"]["level"] == n
        right = verifiable.gsm8k(row["answer"], [f"#### {n + 1}"])
        assert row["rewards"]["gsm8k"] == right


def test_an_exception_names_the_row(base, rows, file, tmp_path):
    config = grpo.Config(
        model=str(base / "policy"),
        **{"data": "gsm8k", "data_path": str(rows), "held_out": 0.0},
        **{"prompts": 4, "samples": 2, "steps": 1, "max_new_tokens": 6},
        **{"mesh": "data=1", "out": tmp_path / "run"},
        reward=f"gsm8k=0.8,{file}:raises=0.2",
    )
    line = (
        file.read_text().splitlines().index("    return [1 / (n - 3) for n in level]")
    )
    message = rf"ZeroDivisionError: .* \(.*my.py:{line + 1}\).*rows.jsonl:3"
    with pytest.raises(ValueError, match=message):
        grpo.main(config)


@pytest.mark.slow
def test_the_documented_run_at_a_small_size(public_data, file, tmp_path):
    """Real rows, a real model that cannot solve them: shorter answers, none right."""
    model, data = public_data / "stories260K" / "hf", public_data / "gsm8k"
    for folder in (model, data):
        if not folder.is_dir():
            pytest.skip(f"no {folder}")
    config = grpo.Config(
        **{"model": str(model), "data": "gsm8k", "data_path": str(data)},
        **{"prompts": 2, "samples": 4, "steps": 5, "max_new_tokens": 16},
        **{"mesh": "data=1", "eval_rows": 4, "out": tmp_path / "run"},
        reward=f"gsm8k=0.8,{file}:brief=0.2",
    )
    numbers = grpo.main(config)
    steps = check_samples(config.out, {"gsm8k": 0.8, "brief": 0.2})
    assert len(steps) == 5 and numbers["eval/prompts"] == 4
    assert (config.out / "curves.png").stat().st_size > 10_000
