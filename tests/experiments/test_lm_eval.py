"""The harness's benchmarks as a command: tasks, errors in one sentence, the report."""

import json
import warnings

import numpy as np
import pytest

from experiments import lm_eval as program
from jaxalign.pipeline.harness import lm_eval_model, lm_eval_tasks
from jaxalign.pipeline.harness.lm_eval_tasks import TaskRequest, parse_tasks
from tests.support import untrained

needs_harness = pytest.mark.skipif(
    not lm_eval_model.INSTALLED, reason="the extra [lm-eval] is not installed"
)
# what other packages deprecate while the harness reads its data
pytestmark = pytest.mark.filterwarnings("ignore")

ENDINGS = """
task: endings
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
test_split: test
fewshot_split: test
output_type: multiple_choice
doc_to_text: "{{{{story}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
metadata: {{version: 1}}
"""


def write_task(folder, rows):
    """A folder with one task on these rows."""
    folder.mkdir()
    data = folder / "endings.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = ENDINGS.format(data=data, cache=folder / "cache")
    (folder / "endings.yaml").write_text(text)
    return folder


def test_tasks_are_parsed():
    assert parse_tasks("a:5, b") == [TaskRequest("a", 5), TaskRequest("b")]
    assert parse_tasks("open_llm")[0] == TaskRequest("arc_challenge", 25)
    with pytest.raises(ValueError, match="--tasks a:x: expected NAME:SHOTS"):
        parse_tasks("a:x")
    with pytest.raises(ValueError, match="names no task"):
        parse_tasks(" , ")


def test_limits_are_numbers_or_shares():
    program.check_limit(0.5), program.check_limit(20.0), program.check_limit(None)
    with pytest.raises(ValueError, match="--limit 2.5: expected a whole number"):
        program.check_limit(2.5)


def test_without_the_harness_a_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(lm_eval_model, "INSTALLED", False)
    config = program.Config(model="none", tasks="mmlu", out=tmp_path / "out")
    with pytest.raises(ImportError, match="is not installed .the extra lm-eval") as e:
        program.main(config)
    # the command line's sentence ends with the name of the package
    assert e.value.name == "'jaxalign[lm-eval]'"
    assert not (tmp_path / "out").exists()


@needs_harness
def test_the_environment_decides_about_downloads(monkeypatch):
    import datasets

    for name in lm_eval_tasks.OFFLINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", None)
    lm_eval_tasks.set_downloads(False)
    assert datasets.config.HF_HUB_OFFLINE is True
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "0")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", None)
    lm_eval_tasks.set_downloads(False)
    assert datasets.config.HF_HUB_OFFLINE is None


@needs_harness
def test_missing_tasks_and_data_are_one_sentence(monkeypatch, tmp_path):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    load = lambda name: lm_eval_tasks.load_tasks(parse_tasks(str(name)))
    with pytest.raises(ValueError, match="the folder holds no YAML file of a task"):
        load(tmp_path / "empty")
    hub = write_task(tmp_path / "hub", [{}]) / "endings.yaml"
    hub.write_text(hub.read_text().replace("path: json", "path: no/such-data-set"))
    with pytest.raises(ValueError, match="its data set is not on this machine"):
        load(hub)
    hub.write_text(hub.read_text().replace("no/such-data-set", "json").replace(
        "endings.jsonl", "other.jsonl"
    ))  # fmt: skip
    with pytest.raises(ValueError, match="cannot be loaded: Unable to find"):
        load(hub)


@needs_harness
def test_numbers_of_examples(tmp_path):
    row = {"story": "a", "choices": ["b", "c"], "gold": 0}
    folder, notes = write_task(tmp_path / "tasks", [row] * 4), []
    load = lambda text, **options: lm_eval_tasks.load_tasks(
        parse_tasks(text), note=notes.append, **options
    ).items[0]
    shots = lambda task: task.get_config("num_fewshot")
    assert shots(load(f"{folder}", num_fewshot=2)) == 2
    assert shots(load(f"{folder}:3", num_fewshot=2)) == 3
    file = folder / "endings.yaml"
    file.write_text(file.read_text() + "num_fewshot: 0\n")
    assert shots(load(f"{file}:3")) == 0
    assert notes == [
        "endings is defined with 0 examples in the prompt, and keeps 0"
    ]  # fmt: skip


@needs_harness
def test_a_folder_of_tasks_is_evaluated_and_goes_on(tmp_path):
    rows = [
        {"story": "Once upon a time", "choices": [" there was", " xyz"], "gold": i % 2}
        for i in range(6)
    ]
    tasks = write_task(tmp_path / "tasks", rows)
    model = untrained.save(tmp_path / "model")
    settings = {"model": str(model), "tasks": str(tasks), "out": tmp_path / "out"}
    numbers = program.main(program.Config(**settings, limit=4, rows=2))
    # every row has the same texts, and the likelier is right on two of four
    assert numbers["endings/acc"].mean == 0.5
    # stderr of the mean of (0, 1, 0, 1): sqrt(1/3) / sqrt(4) = 0.2887
    np.testing.assert_allclose(
        numbers["endings/acc"].high, 0.5 + 1.96 * 0.2887, atol=1e-3
    )
    found = json.loads((tmp_path / "out" / "lm_eval.json").read_text())
    assert found["results"]["endings"]["acc,none"] == 0.5
    assert found["n-samples"]["endings"] == {"original": 6, "effective": 4}
    assert found["config"]["model"] == str(model)
    assert found["leaderboard"]["MMLU (5-shot acc)"] is None
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| endings | 0 | acc ↑ | 0.500" in page and "scores.png" in page
    samples = (tmp_path / "out" / "samples" / "endings.jsonl").read_text()
    assert json.loads(samples.splitlines()[0])["doc"] == rows[0]
    with pytest.raises(ValueError, match="already holds a report"):
        program.main(program.Config(**settings, limit=4))
    # the answers of the first run are in its cache: the model computes nothing
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setattr(lm_eval_model, "score_continuations", lambda *a, **k: 1 / 0)
        again = program.main(program.Config(**settings, limit=4, resume=True))
    assert again == numbers
