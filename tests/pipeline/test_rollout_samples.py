"""The samples of iterations: which answers, their numbers, and nothing else changed."""

import dataclasses
import json

import numpy as np
import pytest

from jaxalign.training import metrics
from tests.support import kill, quick, small_runs

replace = dataclasses.replace
FIELDS = {"step", "prompt", "answer", "rewards", "score", "advantage", "kl"}
FIELDS |= {"ended", "tokens"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("samples"))


def run(base, out, name="grpo", **flags):
    """Runs two iterations of 4 prompts with 4 answers; gives the rows of samples."""
    told = {"mesh": "data=1", "steps": 2, "minibatches": 1, "prompts": 4, "samples": 4}
    told |= flags
    pairs = [f"{key}={value}" for key, value in told.items()]
    module, config = small_runs.experiment_config(base, out, name, pairs)
    module.main(config)
    path = out / "samples.jsonl"
    return (
        [json.loads(x) for x in path.read_text().splitlines()] if path.exists() else []
    )


def by_step(rows, field):
    """The values of a field, [steps rows]."""
    steps = sorted({row["step"] for row in rows})
    return np.array([[row[field] for row in rows if row["step"] == s] for s in steps])


def test_all_rows_of_an_iteration_have_the_numbers_of_its_metrics(base, tmp_path):
    """16 rows are the whole iteration: their means are the metrics of the log.

    The KL is that of the sampler's log-probs, as there is one update: it differs from
    the log's by their gap (at most `logp_gap` nats a token, of 4 tokens).
    """
    rows = run(base, tmp_path, sample_rows=16)
    log = metrics.read_steps(tmp_path)
    assert len(rows) == 32 and rows[0].keys() == FIELDS
    rewards = np.array(
        [[x["reward"] for x in step] for step in by_step(rows, "rewards")]
    )
    mean = lambda name: by_step(rows, name).mean(axis=1)
    of = lambda name: [line[name] for line in log]
    # float32 rounding
    np.testing.assert_allclose(rewards.mean(axis=1), of("reward"), rtol=1e-6)
    np.testing.assert_allclose(rewards.std(axis=1), of("reward_std"), rtol=1e-5)
    np.testing.assert_allclose(mean("ended"), of("eos"), rtol=1e-6)
    np.testing.assert_allclose(1 - mean("ended"), of("truncated"), atol=1e-6)
    np.testing.assert_allclose(mean("tokens"), of("length"), rtol=1e-6)
    np.testing.assert_allclose(mean("kl"), of("kl"), rtol=1e-4, atol=1e-6)
    # --missing-eos-penalty is 1
    score = rewards - (1.0 - by_step(rows, "ended"))
    np.testing.assert_allclose(by_step(rows, "score"), score, rtol=1e-5, atol=1e-6)
    # GRPO: the score less its group's mean, over the group's deviation (of n - 1)
    group = score.reshape(2, 4, 4)
    centered = group - group.mean(axis=2, keepdims=True)
    spread = group.std(axis=2, keepdims=True, ddof=1)
    advantage = (centered / (spread + 1e-4)).reshape(2, 16)
    # of equal scores the rounding, 1e-7, is divided by 1e-4
    np.testing.assert_allclose(by_step(rows, "advantage"), advantage, atol=2e-3)
    # the answers to a prompt are side by side
    prompts = [json.dumps(row["prompt"]) for row in rows]
    assert all(len(set(prompts[i : i + 4])) == 1 for i in range(0, 32, 4))


@pytest.mark.slow
def test_a_few_rows_are_the_first_of_all_on_any_devices(base, tmp_path):
    flags = {"prompts": 8, "samples": 2, "steps": 1}
    everything = run(base, tmp_path / "all", sample_rows=16, **flags)
    few = run(base, tmp_path / "few", sample_rows=3, **flags)
    assert few == everything[:3]
    spread = run(base, tmp_path / "spread", sample_rows=3, mesh="data=8", **flags)
    for one, other in zip(few, spread, strict=True):
        assert one["prompt"] == other["prompt"] and one["answer"] == other["answer"]
        for name in ("score", "kl"):  # sums in another order
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", quick.only(["grpo"], ["ppo", "grpo", "online_dpo"]))
def test_samples_change_no_bit_of_the_training(base, tmp_path, name):
    assert run(base, tmp_path / "without", name, sample_rows=0, log="none") == []
    rows = run(base, tmp_path / "with", name, sample_rows=99, show_samples_every=1)
    assert len(rows) == 2 * (8 if name == "ppo" else 16)
    assert (rows[0].keys() ^ FIELDS) == (
        {"advantage"} if name == "online_dpo" else set()
    )
    differing = kill.differing_files(tmp_path / "without", tmp_path / "with")
    # the model card has the command line, with the flags that differ
    assert differing == ["policy/README.md", "samples.jsonl", "samples.md"]


@pytest.mark.slow
def test_an_advantage_of_each_token_is_averaged(base, tmp_path):
    """REINFORCE++ whitens over all tokens: their weighted mean is 0."""
    rows = run(base, tmp_path, method="reinforce_plus_plus", sample_rows=16)
    tokens, advantage = by_step(rows, "tokens"), by_step(rows, "advantage")
    # float32 rounding
    np.testing.assert_allclose((tokens * advantage).sum(axis=1), 0.0, atol=1e-4)
