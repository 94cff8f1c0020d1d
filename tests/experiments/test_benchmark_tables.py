"""The benchmark's tables: leads are paired, and what is chosen is not what reports."""

import itertools

import numpy as np
import pytest

from experiments.benchmark import __main__
from experiments.benchmark.plots import group_rows, mean_of
from experiments.benchmark.tables import best_beta_rows


def test_the_lead_is_paired_by_seed():
    rows = [
        {"loss": loss, "beta": 1.0, "seed": seed, "reward": reward, "kl": 1.0}
        for loss, rewards in (("a", (0.0, 5.0)), ("b", (1.0, 6.0)))
        for seed, reward in enumerate(rewards)
    ]
    # each seed's difference is 1, however far the seeds are apart
    found = best_beta_rows(rows)[1]
    assert found["over a"] == (1.0, 1.0, 1.0) and str(found["over a"]).endswith("▲")


def noise(rng, seeds, *, losses="abcd", betas=(0.1, 1.0, 10.0), prompts=0):
    """Ends of runs whose rewards are all noise: of runs, or of prompts and betas."""
    rows = []
    for loss, beta in itertools.product(losses, betas):
        shared = rng.normal(size=prompts)  # what a beta gains on a prompt, in each seed
        for seed in range(seeds):
            row = {"loss": loss, "beta": beta, "seed": seed, "kl": 1.0}
            row["reward"] = rng.normal()
            if prompts:
                each = shared + rng.normal(size=prompts)
                row["each"] = {"reward": each, "kl": np.ones(prompts)}
                row |= {"prompt": np.arange(prompts), "reward": each.mean()}
            rows.append(row)
    return rows


@pytest.mark.parametrize("prompts", [0, 6])
def test_what_was_chosen_is_reported_without_the_luck_that_chose_it(prompts):
    """Pure noise: the best of three betas gains nothing where it was not chosen."""
    rng, times = np.random.default_rng(2), 300
    runs = [noise(rng, 4, prompts=prompts) for _ in range(times)]
    chosen = np.array([[r["reward"].mean for r in best_beta_rows(run)] for run in runs])
    deviation = chosen.std() / np.sqrt(chosen.size)
    assert abs(chosen.mean()) < 3 * deviation
    # on the rows that choose, the mean of four seeds (deviation 1/2) is the best of
    # three: 0.846 deviations above 0
    groups = [group_rows(run, "loss", "beta").values() for run in runs]
    means = np.array([[mean_of(r, "reward") for r in group] for group in groups])
    best = means.reshape(times, 4, 3).max(axis=2)
    assert best.mean() > 0.8 * 0.846 * means.std() > 3 * deviation


def test_seeds_that_choose_do_not_report():
    # at beta 1 the first two seeds have 9, the others 1; at beta 2 they have 0 and 5
    rows = [
        {"loss": "a", "beta": beta, "seed": seed, "reward": reward, "kl": reward}
        for beta, rewards in ((1.0, (9.0, 9.0, 1.0, 1.0)), (2.0, (0.0, 0.0, 5.0, 5.0)))
        for seed, reward in enumerate(rewards, start=7)
    ]
    (found,) = best_beta_rows(rows)
    assert found["best beta"] == "1" and found["reward"] == (1.0, 1.0, 1.0)
    # of a single beta nothing is chosen, and all seeds report
    (alone,) = best_beta_rows(rows[:4])
    assert alone["reward"].mean == 5.0
    assert __main__.seed_split_text(__main__.Config(seeds=5, seed=7)) == (
        "selected on seeds 7-8, reported on 9-11"
    )
