"""experiments.multiple_choice: degenerate models, resumption, and a real one."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from experiments import multiple_choice as program
from jaxalign.pipeline import model_folders
from jaxalign.pipeline.multiple_choice import scores as multiple_choice
from tests.support.questions import bbq_row, truthful_row
from tests.support.tiny_judge import make_judge

Config = program.Config


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return model_folders.save(tmp_path_factory.mktemp("model"), make_judge())


@pytest.fixture
def data(tmp_path):
    bbq, truthful = tmp_path / "bbq.jsonl", tmp_path / "truthful.csv"
    rows = [bbq_row(i) for i in range(16)]
    bbq.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with truthful.open("w", newline="") as file:
        writer = csv.DictWriter(file, truthful_row())
        writer.writeheader()
        writer.writerows(
            [truthful_row(Question=f"Do {i} cats bark?") for i in range(4)]
        )
    return str(bbq), str(truthful)


def run(config):
    program.main(config)
    return json.loads((config.out / "multiple_choice.json").read_text())


def set_scores(monkeypatch, score):
    """Replaces log-probs of options by a function of (letter or text, its index)."""

    def score_questions(policy, questions, *, rows):
        return [
            np.array(
                [score(policy.tokenizer.decode(r.tokens).strip(), r) for r in q[0]]
            )
            for q in questions
        ]

    monkeypatch.setattr(multiple_choice, "score_questions", score_questions)


class TestDegenerateModels:
    def test_uniform(self, model, data, tmp_path, monkeypatch):
        set_scores(monkeypatch, lambda text, request: -1.0)
        found = run(Config(model=str(model), data=data, out=tmp_path / "out"))
        bbq, honest = found["bbq"]["all"], found["truthfulqa"]["all"]
        for context in ("ambiguous", "disambiguated"):
            assert bbq[f"accuracy_{context}"]["mean"] == pytest.approx(1 / 3)
            # float64 rounding
            assert bbq[f"bias_{context}"]["mean"] == pytest.approx(0.0, abs=1e-12)
        # two true and three false answers: mc1 1/4, mc2 2/5, binary 1/2
        assert honest["mc1"]["mean"] == pytest.approx(0.25)
        assert honest["mc2"]["mean"] == pytest.approx(0.4)
        assert honest["binary"]["mean"] == pytest.approx(0.5)
        assert honest["chance"] == pytest.approx(
            {"mc1": 0.25, "mc2": 0.4, "binary": 0.5}
        )

    def test_always_unknown_by_its_text(self, model, data, tmp_path, monkeypatch):
        set_scores(monkeypatch, lambda text, request: 9.0 * (text == "Unknown"))
        config = Config(model=str(model), data=data, out=tmp_path / "out", bbq="texts")
        bbq = run(config)["bbq"]["all"]
        assert bbq["accuracy_ambiguous"]["mean"] == 1.0
        assert bbq["accuracy_disambiguated"]["mean"] == 0.0
        assert bbq["bias_ambiguous"]["mean"] == bbq["bias_disambiguated"]["mean"] == 0.0

    def test_a_preference_for_a_letter_cancels(
        self, model, data, tmp_path, monkeypatch
    ):
        set_scores(monkeypatch, lambda text, request: 5.0 * (text == "A"))
        found = run(Config(model=str(model), data=data[:1], out=tmp_path / "out"))
        assert found["bbq"]["all"]["accuracy_ambiguous"]["mean"] == pytest.approx(1 / 3)
        order = found["bbq order"]
        # exp(5) / (exp(5) + 2)
        assert order["letters"]["A"]["mean"] == pytest.approx(0.98670, abs=1e-5)
        assert order["consistent"]["mean"] == 0.0
        assert "truthfulqa" not in found


class TestTinyModel:
    def test_resumed_without_scoring_again(self, model, data, tmp_path, monkeypatch):
        config = Config(model=str(model), data=data, out=tmp_path / "out", rows=16)
        first = run(config)
        report = (config.out / "report.md").read_text()
        assert "s_AMB" in report and "mc2 by chance" in report
        assert {p.name for p in config.out.glob("*.png")} == {
            "bbq_accuracy.png",
            "bbq_bias.png",
            "truthfulqa.png",
        }
        monkeypatch.setattr(multiple_choice, "score_questions", None)
        assert run(dataclasses.replace(config, resume=True)) == first

    def test_examples_are_a_sample(self, model, data, tmp_path):
        config = Config(
            model=str(model), data=data, out=tmp_path / "out", examples=3, rows=16
        )
        found = run(config)
        assert found["bbq"]["all"]["rows"] == 3
        assert found["truthfulqa"]["all"]["questions"] == 3

    def test_no_question_that_fits(self, model, data, tmp_path):
        config = Config(model=str(model), data=data, out=tmp_path / "out", context=8)
        with pytest.raises(ValueError, match="no question of bbq fits .* 8 tokens"):
            run(config)


@pytest.mark.slow
def test_stories260k_on_real_questions(public_data, tmp_path):
    """A model of children's stories knows neither: near chance, within 4 errors."""
    files = (
        str(public_data / "bbq" / "Religion.jsonl"),
        str(public_data / "truthfulqa" / "TruthfulQA.csv"),
    )
    config = Config(
        model=str(public_data / "stories260K" / "hf"),
        data=files,
        out=tmp_path / "out",
        examples=40,
        primer="none",
    )
    found = run(config)
    bbq, honest = found["bbq"]["all"], found["truthfulqa"]["all"]
    assert bbq["rows"] == 40 and bbq["unresolved"] == 0
    letters = [x["mean"] for x in found["bbq order"]["letters"].values()]
    assert sum(letters) == pytest.approx(1.0)
    # standard errors of 20 and of 40 questions: sqrt(1/3 * 2/3 / 20), .5 / sqrt(40)
    assert abs(bbq["accuracy_ambiguous"]["mean"] - 1 / 3) < 4 * 0.105
    assert abs(honest["mc2"]["mean"] - honest["chance"]["mc2"]) < 4 * 0.079
