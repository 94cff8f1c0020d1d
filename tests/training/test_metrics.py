"""The log: what is written, what a resumed run finds, how a NaN is told."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.training import metrics


def write(folder, steps, **knobs):
    with metrics.Writer(folder, **knobs) as writer:
        for number in steps:
            writer.log(number, {"loss": jnp.float32(1 / number), "eval": {"kl": 2}})


def test_nested_metrics_become_lines(tmp_path):
    write(tmp_path, [1, 3])
    assert metrics.read_log(tmp_path) == [
        {"step": 1, "loss": 1.0, "eval/kl": 2},
        {"step": 3, "loss": float(np.float32(1 / 3)), "eval/kl": 2},
    ]


def test_a_resumed_log_is_that_of_an_uninterrupted_run(tmp_path):
    write(tmp_path / "whole", range(1, 7))
    write(tmp_path / "killed", range(1, 6))
    with (tmp_path / "killed" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    write(tmp_path / "killed", range(4, 7), resume_step=3)
    text = lambda name: (tmp_path / name / "metrics.jsonl").read_text()
    assert text("killed") == text("whole")
    write(tmp_path / "killed", [1])
    assert len(metrics.read_log(tmp_path / "killed")) == 1


def test_a_number_that_is_not_finite_is_null(tmp_path):
    with metrics.Writer(tmp_path) as writer:
        writer.log(1, {"a": float("nan"), "b": np.inf, "c": True})
    assert metrics.read_log(tmp_path) == [{"step": 1, "a": None, "b": None, "c": True}]


def test_a_nan_is_told_with_its_step():
    metrics.check_finite({"loss": 1.0, "finite": True, "accuracy": np.nan}, 3)
    bad = {"loss": jnp.nan, "grad_norm": 1.0, "finite": jnp.asarray(False)}
    message = r"step 4 on rows \[1, 2\]: loss = nan, .* are those of step 3"
    with pytest.raises(FloatingPointError, match=message):
        metrics.check_finite(bad, 4, rows=[1, 2])
    with pytest.raises(FloatingPointError, match="grad_norm = inf"):
        metrics.check_finite({"loss": 1.0, "grad_norm": np.inf, "finite": False}, 4)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write metrics in .*file: "):
        metrics.Writer(tmp_path / "file")
