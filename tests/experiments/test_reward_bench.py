"""experiments.reward_bench: from files in published layouts to the report."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import reward_bench
from jaxalign.data.examples import TokenRow
from jaxalign.data.records import Prompt
from jaxalign.evaluation.reward_benchmarks.reward_bench import SECTIONS
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.pipeline.reward_benchmarks import reward_context
from tests.support import untrained

Config = reward_bench.Config


def run(tmp_path, monkeypatch, data, score, **flags):
    """The numbers of a reward that is a function of (prompt, answer)."""

    def load_scorer(*args):
        return lambda prompts, answers: np.array(
            [score(p, a) for p, a in zip(prompts, answers, strict=True)], float
        )

    monkeypatch.setattr(reward_bench, "load_scorer", load_scorer)
    config = Config(
        reward="exact", data=tuple(map(str, data)), out=tmp_path / "out", **flags
    )
    reward_bench.main(config)
    return json.loads((tmp_path / "out" / "reward_bench.json").read_text())


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_length(prompt, answer):
    return len(answer)


class TestLlmbar:
    def test_longer_wins(self, tmp_path, monkeypatch, public_data):
        files = sorted((public_data / "llmbar").glob("*.json"))
        numbers = run(tmp_path, monkeypatch, files, by_length)
        # ../shared/data/golden.md, to three decimals
        expected = {
            "llmbar-adver-GPTInst": 0.130,
            "llmbar-adver-GPTOut": 0.447,
            "llmbar-adver-manual": 0.174,
            "llmbar-adver-neighbor": 0.119,
            "llmbar-natural": 0.560,
        }
        subsets = numbers["pairs"]["subsets"]
        for kind in ("accuracy", "longer wins"):
            found = {name: part[kind]["mean"] for name, part in subsets.items()}
            # three digits are published
            assert found == pytest.approx(expected, abs=5e-4)
        difference = numbers["pairs"]["length"]["difference"]["accuracy"]
        assert difference == {"mean": 0.0, "low": 0.0, "high": 0.0}
        # five of six subsets: no score of RewardBench is printed as if whole
        section = numbers["reward_bench"]["sections"]["Chat Hard"]
        assert section["missing"] == ["mt-bench-hard"] and section["rows"] == 419
        assert numbers["reward_bench"]["sections"]["Chat"]["accuracy"] is None
        assert numbers["reward_bench"]["overall"] is None
        report = (tmp_path / "out" / "report.md").read_text()
        assert "There is no overall score" in report
        assert "| Chat | absent | 0 | 0 of 5 |" in report


def test_the_whole_of_reward_bench(tmp_path, monkeypatch):
    # two pairs a subset: "good" wins, but for math-prm, where the first of two does:
    # Reasoning 0.5 * 0.5 + 0.5 = 0.75, overall (3 + 0.75) / 4
    subsets = [subset for part in SECTIONS.values() for subset in part]
    rows = [
        {"prompt": f"{subset} {i}", "chosen": chosen, "rejected": "bad"}
        | {"subset": subset, "id": i}
        for subset in subsets
        for i, chosen in enumerate(
            ("good", "worse" if subset == "math-prm" else "good")
        )
    ]
    data = [write(tmp_path / "filtered.jsonl", rows)]
    scores = {"good": 1.0, "bad": 0.0, "worse": -1.0}
    numbers = run(tmp_path, monkeypatch, data, lambda p, a: scores[a])
    notes = json.loads((tmp_path / "out" / "notes.json").read_text())
    assert "math-prm (2 rows of 447)" in notes[0]
    part = numbers["reward_bench"]
    assert part["overall"]["mean"] == pytest.approx(0.9375)
    assert part["sections"]["Reasoning"]["accuracy"]["mean"] == pytest.approx(0.75)
    assert all(not section["missing"] for section in part["sections"].values())


def test_reward_bench_2_with_ties_and_rm_bench_at_once(tmp_path, monkeypatch):
    plain = ("Factuality", "Precise IF", "Math", "Safety", "Focus")
    rows = [
        {"prompt": f"{s} {i}", "chosen": ["3"], "rejected": ["3", "1", "0"]}
        | {"subset": s, "id": str(i)}
        for s in plain
        for i in range(2)
    ]
    # ref: 5 against 1; tied: 4 and 3 against 0: 1 + 0.01 tanh(3 / 1 - 1)
    for i in range(2):
        rows.append({"id": f"ref:{i}", "chosen": ["5"], "rejected": ["1"]})
        rows.append({"id": f"tied:{i}", "chosen": ["4", "3"], "rejected": ["0"]})
        for row in rows[-2:]:
            row |= {"prompt": f"t{i}", "subset": "Ties"}
    styles = [
        {"prompt": f"{domain}?", "chosen": ["1", "2", "3"], "domain": domain}
        | {"rejected": ["0", "2", "4"]}
        for domain in ("chat", "code", "safety-refuse", "safety-response")
    ]
    data = [write(tmp_path / "v2.jsonl", rows), write(tmp_path / "rm.jsonl", styles)]
    numbers = run(tmp_path, monkeypatch, data, lambda p, a: float(a))
    second = numbers["reward_bench_2"]
    # the chosen shares the maximum with one wrong answer
    assert second["subsets"]["Math"]["accuracy"]["mean"] == 0.5
    ties = 1.0 + 0.01 * np.tanh(2.0)
    assert second["subsets"]["Ties"]["accuracy"]["mean"] == pytest.approx(ties)
    assert second["overall"]["mean"] == pytest.approx((5 * 0.5 + ties) / 6)
    third = numbers["rm_bench"]
    # by hand in tests/evaluation/test_rm_bench.py
    levels = {name: part["accuracy"]["mean"] for name, part in third["levels"].items()}
    assert levels == pytest.approx(
        {"easy": 1.0, "normal": 1 / 3, "hard": 0.0, "average": 4 / 9}
    )
    assert third["matrix"] == [[1, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert third["missing"] == ["math"]
    assert third["domains"]["easy"]["overall"] is None


class TestPairsOfOnesOwn:
    ROWS = [
        {"prompt": f"{i}?", "chosen": str(i), "rejected": "5", "margin": 1 + i % 3}
        | {"category": "small" if i < 5 else "large"}
        for i in range(12)
    ]

    def test_by_margin_category_and_equal_scores(self, tmp_path, monkeypatch):
        data = [write(tmp_path / "mine.jsonl", self.ROWS)]
        numbers = run(
            tmp_path, monkeypatch, data, lambda p, a: float(a), split_by="category"
        )
        # 6..11 are above 5, and 5 is equal: wrong
        assert numbers["pairs"]["accuracy"]["mean"] == 0.5
        assert numbers["pairs"]["equal scores"] == 1
        split = numbers["split"]["category"]
        assert split["small"]["accuracy"]["mean"] == 0.0
        assert split["large"]["accuracy"]["mean"] == pytest.approx(6 / 7)
        # margins 1, 2, 3: rows i % 3 == 0, 1, 2, of which two are above 5 each
        margins = {k: v["accuracy"]["mean"] for k, v in numbers["margins"].items()}
        assert margins == {"1": 0.5, "2": 0.5, "3": 0.5}
        assert numbers["reward_bench"] is None
        assert list(numbers["pairs"]["subsets"]) == ["mine"]

    def test_equal_scores_may_count_as_half(self, tmp_path, monkeypatch):
        data = [write(tmp_path / "mine.jsonl", self.ROWS)]
        numbers = run(
            tmp_path, monkeypatch, data, lambda p, a: float(a), equal_scores="half"
        )
        assert numbers["pairs"]["accuracy"]["mean"] == pytest.approx(6.5 / 12)

    def test_a_nan_names_the_row(self, tmp_path, monkeypatch):
        data = [write(tmp_path / "mine.jsonl", self.ROWS)]
        bad = lambda p, a: float("nan") if a == "7" else 0.0
        with pytest.raises(
            ValueError, match=r"mine.jsonl:8: .* is nan; expected a fin"
        ):
            run(tmp_path, monkeypatch, data, bad)

    def test_an_unknown_field_names_those_there_are(self, tmp_path, monkeypatch):
        data = [write(tmp_path / "mine.jsonl", self.ROWS)]
        with pytest.raises(ValueError, match="--split-by topic: .* are category"):
            run(tmp_path, monkeypatch, data, by_length, split_by="topic")


@pytest.fixture(scope="module")
def reward(tmp_path_factory):
    return untrained.save_reward(tmp_path_factory.mktemp("reward"))


class TestRewardModel:
    def config(self, reward, tmp_path, **flags):
        rows = [
            {"prompt": "Please repeat a word.", "chosen": f"word {i}", "rejected": "no"}
            for i in range(9)
        ] + [{"prompt": "word " * 90, "chosen": "a", "rejected": "b"}]
        data = (str(write(tmp_path / "mine.jsonl", rows)),)
        return Config(
            reward=str(reward), data=data, out=tmp_path / "out", rows=2, **flags
        )

    def test_rows_beyond_the_context_are_left_out_and_runs_resume(
        self, reward, tmp_path, monkeypatch
    ):
        config = self.config(reward, tmp_path)
        first = reward_bench.main(config)
        notes = json.loads((config.out / "notes.json").read_text())
        assert "1 of 10 rows left out: longer than the 96 tokens" in notes[0]
        (config.out / "numbers.json").unlink()
        monkeypatch.setattr(reward_bench, "score_rows", None)  # not scored again
        assert reward_bench.main(dataclasses.replace(config, resume=True)) == first

    def test_no_row_that_fits(self, reward, tmp_path):
        config = self.config(reward, tmp_path, context=4)
        with pytest.raises(ValueError, match="no row of --data fits the 4 tokens"):
            reward_bench.main(config)
        assert not config.out.exists()


def test_rows_that_the_tokenizer_cannot_split_are_left_out(reward, monkeypatch):
    # one bad answer of seven is found by halving, and named by its row
    def encode_answers(tokenizer, prompts, answers):
        if "bad" in answers:
            raise ValueError("one token over the end of the prompt")
        return [TokenRow(np.zeros(5, int), np.zeros(5, bool)) for _ in answers]

    monkeypatch.setattr(reward_context, "encode_answers", encode_answers)
    prompts = [Prompt([], f"f:{i}") for i in range(7)]
    answers = ["good"] * 7
    answers[4] = "bad"
    config = EvaluationConfig()
    found = reward_context.answer_tokens(str(reward), config, prompts, answers)
    assert found.lengths.tolist() == [5, 5, 5, 5, 0, 5, 5]
    assert found.error == "f:4: one token over the end of the prompt"
    assert reward_context.answer_tokens("length:4", config, prompts, answers) is None
