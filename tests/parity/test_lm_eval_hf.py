"""The harness's own `hf` model on the same folder: the same numbers, in torch."""

import json
import warnings

import numpy as np
import pytest

from jaxalign.pipeline import text_models
from jaxalign.pipeline.harness import lm_eval_model, lm_eval_tasks
from tests.support import untrained

REASON = "needs the extras [lm-eval] and [parity]"
for package in ("lm_eval", "torch", "accelerate"):
    pytest.importorskip(package, reason=REASON)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lm_eval.models.huggingface import HFLM

# what torch and the harness's data sets deprecate
pytestmark = pytest.mark.filterwarnings("ignore")

QUESTIONS = [
    ("What is 2 + 2? ", [" 4", " five, perhaps", " 22"]),
    ("Please name a color that is warm.", ["Red", " a very dark green", " sky"]),
    ("A long question? " * 12, [" Yes", " No"]),
    ("Thanks", [", you are welcome", "!"]),
    ("How many days has a week?", [" 7", " 5", " twelve", " two"]),
]
SHARED = {
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "{{q}}",
    "metadata": {"version": 1},
}
TASKS = {
    "choices": {
        "output_type": "multiple_choice",
        "doc_to_choice": "choices",
        "doc_to_target": "gold",
        "target_delimiter": "",
        "num_fewshot": 1,
        "fewshot_split": "test",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{q}}{{choices[0]}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
    "answers": {
        "output_type": "generate_until",
        "doc_to_target": "{{choices[0]}}",
        "generation_kwargs": {"until": ["e"], "max_gen_toks": 12, "do_sample": False},
        "metric_list": [{"metric": "exact_match"}],
    },
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    rows = [{"q": q, "choices": c, "gold": len(c) - 1} for q, c in QUESTIONS]
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, task in TASKS.items():
        reading = {"data_files": {"test": str(data)}, "cache_dir": str(folder / "c")}
        config = SHARED | {"task": name, "dataset_kwargs": reading} | task
        (folder / f"{name}.yaml").write_text(json.dumps(config))
    return folder


def results(model, files):
    """The harness's metrics of each task, and the answers to each of its requests."""
    loaded = lm_eval_tasks.load_tasks(lm_eval_tasks.parse_tasks(str(files)))
    found = lm_eval_tasks.run_tasks(model, loaded)
    metrics = {
        (task, name): value
        for task, values in found["results"].items()
        for name, value in values.items()
        if isinstance(value, float)
    }
    answers = {
        task: [row["resps"] for row in rows] for task, rows in found["samples"].items()
    }
    return metrics, answers


def test_results_are_those_of_the_hf_model(tmp_path, files):
    folder = untrained.save(tmp_path)
    policy = text_models.load(folder).policy
    ours = lm_eval_model.HarnessModel(policy, rows=4)
    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)
    assert theirs.max_length == ours.max_length == 96
    assert theirs.prefix_token_id == ours.prefix_token_id
    metrics, answers = results(ours, files)
    their_metrics, their_answers = results(theirs, files)
    assert metrics.keys() == their_metrics.keys() and len(metrics) >= 7
    for name, value in metrics.items():
        # accuracies and matches are equal; perplexities of float32 sums
        np.testing.assert_allclose(value, their_metrics[name], rtol=1e-5, err_msg=name)
    numbers = lambda rows: np.array([row[0][0] for row in rows], float)
    pairs = lambda found: [one[0] for row in found["choices"] for one in row]
    for one, other in zip(pairs(answers), pairs(their_answers), strict=True):
        # sums of up to 90 float32 log-probs near -5.5
        np.testing.assert_allclose(float(one[0]), float(other[0]), atol=1e-4)
        assert str(one[1]) == str(other[1])
    np.testing.assert_allclose(
        *(numbers(a["texts"]) for a in (answers, their_answers)), rtol=1e-5
    )
    assert answers["answers"] == their_answers["answers"]
