"""Distillation: a student comes nearer to a wider teacher, whoever answers."""

import dataclasses
import json

import numpy as np
import pytest

from experiments import distill
from jaxalign.data import tokenizer as tokenizers
from jaxalign.training import metrics
from tests.support import interrupt, kill, small_runs

replace = dataclasses.replace


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("distill"))


@pytest.fixture(scope="module")
def prompts(base):
    """A file of prompts without answers."""
    rows = [json.loads(x) for x in (base / "pairs.jsonl").read_text().splitlines()]
    file = base / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": r["prompt"]}) + "\n" for r in rows))
    return str(file)


def config_of(base, out, **flags):
    _, config = small_runs.experiment_config(base, out, "distill", ["mesh=data=1"])
    return replace(config, **{"log": "none"} | flags)


def test_a_student_comes_nearer_on_answers_of_either_kind(base, tmp_path):
    config = config_of(base, tmp_path, steps=30, learning_rate=1e-2, eval_every=30)
    numbers = distill.main(config)
    before, after = (
        x for x in metrics.read_log(tmp_path) if not metrics.is_training(x)
    )
    for name in ("loss", "forward_kl", "reverse_kl", "teacher_kl"):
        assert 0 < after[f"eval/{name}"] < 0.5 * before[f"eval/{name}"], name
    # per answer is per token times tokens
    product = numbers["eval/reverse_kl"] * numbers["eval/length"]
    np.testing.assert_allclose(numbers["eval/teacher_kl"], product, rtol=1e-9)
    lines = metrics.read_steps(tmp_path)
    on_policy = [line["on_policy"] for line in lines]
    assert on_policy == [float(config.is_on_policy(i)) for i in range(30)]
    for line in lines:
        sampled = {"eos", "truncated", "logp_gap"} & line.keys()
        assert len(sampled) == 3 * line["on_policy"]
        # the sampler's log-probs are the trainer's: float32 rounding
        assert line.get("logp_gap", 0.0) < 1e-4
    rows = [
        json.loads(x) for x in (tmp_path / "samples.jsonl").read_text().splitlines()
    ]
    steps = {i for i in range(30) if on_policy[i]}
    assert {row["step"] for row in rows} == steps and len(rows) == 8 * len(steps)


def test_the_share_of_on_policy_steps_is_lmbda():
    share = lambda lmbda: np.mean(
        [distill.Config(lmbda=lmbda).is_on_policy(i) for i in range(400)]
    )
    assert share(0.0) == 0.0 and share(1.0) == 1.0
    # 400 coins of 0.25: a deviation of 0.02
    assert abs(share(0.25) - 0.25) < 0.08


def test_given_answers_alone_are_counted_in_passes_over_them(base, tmp_path):
    config = config_of(base, tmp_path, lmbda=0.0, steps=None, epochs=0.5)
    numbers = distill.main(config)
    plan = json.loads((tmp_path / "plan.json").read_text())
    # half a pass in steps of 8
    assert plan["unit"] == "answers" and plan["steps"] == plan["rows"] // 2 // 8 > 1
    epoch = plan["steps"] * 8 / plan["rows"]
    np.testing.assert_allclose(numbers["train/epoch"], epoch)


def test_of_itself_nothing_is_left_to_learn(base, tmp_path):
    config = config_of(base, tmp_path, steps=1, teacher=str(base / "policy"))
    distill.main(config)
    first, step = metrics.read_log(tmp_path)[:2]
    for name in ("loss", "forward_kl", "reverse_kl", "teacher_kl"):
        np.testing.assert_allclose(first[f"eval/{name}"], 0.0, atol=1e-5)
    np.testing.assert_allclose(step["loss"], 0.0, atol=1e-6)


def test_prompts_alone_are_enough_without_answers_of_the_data(base, tmp_path, prompts):
    config = config_of(base, tmp_path / "on", data=prompts, lmbda=1.0, beta=1.0)
    numbers = distill.main(replace(config, steps=1))
    assert numbers["train/on_policy"] == 1.0
    taught = replace(config, out=tmp_path / "taught", lmbda=0.0, seq_kd=True, steps=1)
    numbers = distill.main(taught)
    assert numbers["train/on_policy"] == 0.0 and "train/eos" in numbers
    assert (tmp_path / "taught" / "samples.jsonl").read_text() == ""
    with pytest.raises(ValueError) as error:
        distill.main(replace(config, out=tmp_path / "mixed", lmbda=0.5))
    assert "set --lmbda 1, or --seq-kd" in " ".join(error.value.__notes__)


def test_resumed_is_uninterrupted(base, tmp_path, monkeypatch):
    """Both iterators, the coins, and the answers sampled on the way."""
    whole = config_of(base, tmp_path / "whole", steps=4, save_every=1, seed=1)
    assert {whole.is_on_policy(i) for i in (1, 2, 3)} == {True, False}
    distill.main(whole)
    parts = replace(whole, out=tmp_path / "parts")
    with interrupt.stop_at_step(monkeypatch, 2), pytest.raises(interrupt.Stop):
        distill.main(parts)
    distill.main(replace(parts, resume=True))
    assert kill.differing_files(whole.out, parts.out) == []


def test_what_cannot_be_is_refused_before_anything_is_made(base, tmp_path):
    with pytest.raises(ValueError, match="^--teacher is missing: .* runs/ppo/policy"):
        distill.main(distill.Config(out=tmp_path / "none"))
    with pytest.raises(ValueError, match=r"--lmbda 1.5: it should be a number from 0"):
        distill.Config(lmbda=1.5)
    with pytest.raises(ValueError, match=r"--beta 2.0: it should be a number from 0 t"):
        distill.Config(beta=2.0)
    other = tmp_path / "other"
    other.mkdir()
    for file in small_runs.teacher(base).iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    tokenizer = tokenizers.load(other)
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(other)
    config = config_of(base, tmp_path / "run", teacher=str(other))
    with pytest.raises(
        ValueError, match="another tokenizer than the student: token '<"
    ):
        distill.main(config)
    assert not (tmp_path / "none").exists() and not config.out.exists()
