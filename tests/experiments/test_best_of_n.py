"""Best-of-n as an experiment: against every subset of answers, and what it writes."""

import itertools
import json
import math

import numpy as np
import pytest

from experiments import best_of_n
from jaxalign.evaluation.best_of_n import powers_of_two
from jaxalign.pipeline import reward_functions
from tests.support import untrained

RNG = np.random.default_rng(3)
REWARDS = {
    "proxy reward": RNG.normal(size=(3, 6)),
    "true reward": RNG.normal(size=(3, 6)),
}


def every_subset(gold, proxy, n):
    """The gold reward of the best by proxy, over all n of each prompt's answers [P]."""
    subsets = [list(s) for s in itertools.combinations(range(proxy.shape[1]), n)]
    return np.mean(
        [
            [row[s][np.argmax(by[s])] for row, by in zip(gold, proxy, strict=True)]
            for s in subsets
        ],
        axis=0,
    )


def test_curves_are_means_over_every_subset():
    assert powers_of_two(6) == [1, 2, 4, 6]
    assert powers_of_two(8) == [1, 2, 4, 8]
    found = best_of_n.best_of_n_curves(REWARDS, [1, 2, 4, 6])
    proxy, true = REWARDS.values()
    by = {
        "proxy reward": (proxy, proxy),
        "true reward": (true, proxy),
        "best possible": (true, true),
    }
    assert list(found) == list(by)
    for name, (gold, chooses) in by.items():
        expected = [every_subset(gold, chooses, n) for n in (1, 2, 4, 6)]
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_the_table_and_the_plot_say_what_the_curves_do():
    ns = [1, 2, 6]
    found = best_of_n.best_of_n_curves(REWARDS, ns)
    lengths = np.array([[4.0, 6.0], [3.0, 5.0], [1.0, 1.0]])
    rows = best_of_n.table(found, lengths, ns, "each")
    assert [row["n"] for row in rows] == ns
    assert [row["length"].mean for row in rows] == [5.0, 4.0, 1.0]
    kls = [0.0, math.log(2) - 1 / 2, math.log(6) - 5 / 6]
    np.testing.assert_allclose([row["KL (nats)"] for row in rows], kls)
    true = found["true reward"].mean(axis=1)
    means = [row["true reward"].mean for row in rows]
    np.testing.assert_allclose(means, true, rtol=1e-6)  # float32 sums
    assert rows[0]["true gain"] is None
    assert str(rows[2]["true gain"]).startswith(f"{true[2] - true[0]:.3f} ±")
    series = best_of_n.gains_by_kl(found, REWARDS, ns, "each")
    for name, of in (("true reward", "true reward"), ("best possible", "true reward")):
        gains = found[name].mean(axis=1) - found[name].mean(axis=1)[0]
        kl, drawn = zip(*series[name], strict=True)
        np.testing.assert_allclose(kl, kls)
        expected = gains / REWARDS[of].std()
        np.testing.assert_allclose([x.mean for x in drawn], expected, atol=1e-6)


def test_without_a_true_reward_the_proxy_alone_is_told():
    found = best_of_n.best_of_n_curves(
        {"proxy reward": REWARDS["proxy reward"]}, [1, 6]
    )
    assert list(found) == ["proxy reward"]
    (first, _) = best_of_n.table(found, np.ones((2, 3)), [1, 6], "each")
    assert list(first) == ["n", "KL (nats)", "proxy reward", "length"]


def test_an_experiment_writes_what_it_says(tmp_path, monkeypatch):
    """The proxy is a stub that likes long answers: its best is the longest."""
    base = untrained.save(tmp_path / "base")
    seen = []

    def scorer(reward, dtype, policy, source):
        def score(prompts, sequences, ended):
            seen.append(np.asarray(sequences.loss_mask).sum(axis=1))
            return seen[-1].astype(np.float32)

        return score

    monkeypatch.setattr(reward_functions, "make_reward_function", scorer)
    config = best_of_n.Config(
        model=str(base),
        reward="length",
        prompts=8,
        samples=4,
        max_new_tokens=12,
        out=tmp_path / "best",
        mesh="data=1",
    )
    rows = best_of_n.main(config)
    lengths = seen[0].reshape(8, 4).astype(float)
    assert np.ptp(lengths) > 0
    for row, n in zip(rows, (1, 2, 4), strict=True):
        expected = every_subset(lengths, lengths, n).mean()
        np.testing.assert_allclose(row["proxy reward"].mean, expected, rtol=1e-6)
        np.testing.assert_allclose(row["length"].mean, expected, rtol=1e-6)
        assert row["best possible"].mean >= row["true reward"].mean - 1e-6
    for name in ("table.md", "reward_kl.png", "samples.md"):
        assert (config.out / name).stat().st_size > 100, name
    assert json.loads((config.out / "table.json").read_text())[2]["n"] == 4
    numbers = json.loads((config.out / "numbers.json").read_text())
    assert numbers["proxy reward"] == lengths.max(axis=1).mean()


@pytest.mark.parametrize("few", [{"samples": 1}, {"prompts": 0}])
def test_too_few_are_refused(few, tmp_path):
    with pytest.raises(ValueError, match="--(samples 1|prompts 0): "):
        best_of_n.main(best_of_n.Config(reward="programmed", out=tmp_path, **few))


def test_a_reward_that_is_not_there_is_named(tmp_path):
    config = best_of_n.Config(reward=str(tmp_path), out=tmp_path / "run", mesh="data=1")
    with pytest.raises(ValueError, match="holds no reward model"):
        best_of_n.main(config)
