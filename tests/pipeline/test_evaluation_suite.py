"""Suites: which runs they name, what is refused, and what is not measured again."""

import dataclasses
import json
import types

import pytest

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline.evaluation import suite as evaluation_suite
from jaxalign.pipeline.evaluation.suite import Program
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun


def program(name, **fields):
    """A module with Config and main, which counts its runs."""
    fields = [(field, str, default) for field, default in fields.items()]
    config = dataclasses.make_dataclass(
        "Config", fields, bases=(ReportConfig,), frozen=True, kw_only=True
    )
    module = types.ModuleType(name)
    module.Config, module.runs = config, []

    def main(config):
        module.runs.append(config)
        with ReportRun(config, name) as run:
            (run.folder / "plot.png").write_bytes(b"PNG")
            rows = [{"x": Interval(1.0, 0.0, 2.0)}]
            run.publish(Page(name, [Section("s", "t", rows, run.folder / "plot.png")]))
            return run.finish({"nll": Interval(1.5, 1.0, 2.0), "n": 3, "file": "f"})

    module.main = main
    return module


@pytest.fixture
def programs():
    return {
        "perplexity": Program(program("perplexity", model="", data=""), "model"),
        "compare": Program(program("compare", policies=""), "policies", joined=True),
        "generate": Program(program("generate", model=""), "model", joined=True),
        "score": Program(program("score", data=""), reads_answers="data"),
    }


def read(tmp_path, programs, text, models=("a/policy", "b/policy"), resume=False):
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    return evaluation_suite.read_suite(
        file, programs, models, tmp_path / "out", seed=3, resume=resume
    )


def test_a_run_for_each_model_or_one_for_all(tmp_path, programs):
    suite = "perplexity: {data: x}\ncompare:\nperplexity long: {data: y}\n"
    runs = read(tmp_path, programs, suite)
    assert [str(run) for run in runs] == [
        "perplexity of a/policy",
        "perplexity of b/policy",
        "compare",
        "perplexity long of a/policy",
        "perplexity long of b/policy",
    ]
    assert [
        run.config.out.relative_to(tmp_path / "out").as_posix() for run in runs
    ] == [
        "perplexity/1_policy",
        "perplexity/2_policy",
        "compare",
        "perplexity_long/1_policy",
        "perplexity_long/2_policy",
    ]
    assert runs[0].config.model == "a/policy" and runs[3].config.data == "y"
    assert runs[2].config.policies == "a/policy,b/policy"
    assert {run.config.seed for run in runs} == {3}


def test_models_have_names(tmp_path, programs):
    suite, models = "perplexity: {data: x}\ncompare:\n", ("sft=a/policy", "b/policy")
    first, second, joined = read(tmp_path, programs, suite, models)
    assert str(first) == "perplexity of sft" and first.config.model == "a/policy"
    assert first.config.out.name == "1_sft" and second.config.out.name == "2_policy"
    assert joined.config.policies == "sft=a/policy,b/policy"


def test_score_reads_the_answers_that_were_generated(tmp_path, programs):
    runs = read(tmp_path, programs, "generate:\nscore:\n")
    assert runs[1].config.data == str(tmp_path / "out/generate/answers.jsonl")


@pytest.mark.parametrize(
    "text, message",
    [
        ("perplexty: {data: x}", "suite.yaml: perplexty: unknown .*did you mean perpl"),
        ("perplexity: {dta: x}", "suite.yaml: perplexity: unknown field 'dta'"),
        ("perplexity: {data: 3}", "perplexity.data is 3; expected text"),
        ("perplexity: {model: x}", "perplexity.model: --models sets it"),
        ("perplexity: x", "perplexity is 'x'; expected flags"),
        ("score:", "score: data is missing, and no generate before it"),
    ],
)
def test_a_suite_is_refused_before_anything_runs(tmp_path, programs, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, programs, text)


def test_what_is_complete_is_not_measured_again(tmp_path, programs):
    runs = read(tmp_path, programs, "perplexity: {data: x}")
    numbers = [evaluation_suite.measure(run) for run in runs]
    assert numbers[0]["n"] == 3 and len(programs["perplexity"].module.runs) == 2
    again = read(tmp_path, programs, "perplexity: {data: x}", resume=True)
    assert [evaluation_suite.measure(run) for run in again] == numbers
    assert len(programs["perplexity"].module.runs) == 2
    (again[1].config.out / "numbers.json").unlink()  # interrupted
    evaluation_suite.measure(again[1])
    assert programs["perplexity"].module.runs[-1].resume
    rows = evaluation_suite.summary_rows(("a/policy", "b/policy"), runs, numbers)
    assert rows[1] == {
        "model": "b/policy",
        "perplexity: nll": Interval(1.5, 1.0, 2.0),
        "perplexity: n": 3,
    }
    (joined,) = read(tmp_path, programs, "compare:")
    named = {"by_model": {"b/policy": {"win_rate": 0.5}}}
    rows = evaluation_suite.summary_rows(("a/policy", "b/policy"), [joined], [named])
    assert rows == [
        {"model": "a/policy"},
        {"model": "b/policy", "compare: win_rate": 0.5},
    ]
    (section,) = evaluation_suite.own_sections(runs[0])
    assert section.title == "perplexity of a/policy: s"
    assert section.image.exists() and section.rows == [{"x": Interval(1.0, 0.0, 2.0)}]


def test_diversity_by_model_and_prompt(tmp_path, programs):
    (run,) = read(tmp_path, programs, "generate:")
    run.config.out.mkdir(parents=True)
    answers = {"a": ["x y", "x y"], "b": ["x y", "z w"]}
    rows = [
        {"prompt": "q", "answer": text, "model": model}
        for model, texts in answers.items()
        for text in texts
    ]
    file = run.config.out / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (section,) = evaluation_suite.diversity_sections([run])
    # of two equal answers half the words are different ones; of two others all are
    assert [row["distinct-1"].mean for row in section.rows] == [0.5, 1.0]
    assert [row["different"].mean for row in section.rows] == [0.5, 1.0]
