"""Over-optimization: gains of the best of n, flipped labels, and the report."""

import numpy as np

from jaxalign.data import readers
from jaxalign.data.records import Preference
from jaxalign.evaluation.over_optimization import law_gain
from jaxalign.evaluation.page import Page, write
from jaxalign.pipeline import held_out, over_optimization, over_optimization_report


def test_gains_of_the_best_of_n_start_at_0_and_are_in_standard_deviations():
    gold = np.tile([0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 2.0, 2.0], (3, 1))  # deviation 1
    values = over_optimization.best_of_n_values(gold, gold)
    assert values["kl@1"] == 0.0 and (values["gold@1"] == 0.0).all()
    # the best of 2 of 4 zeros and 4 twos is 0 with 4/8 * 3/7 = 3/14: 2 * 11/14 - 1
    np.testing.assert_allclose(values["gold@2"], 4 / 7, rtol=1e-6)
    assert "gold@4" not in values  # a quarter of 8 samples
    against = over_optimization.best_of_n_values(gold, -gold)
    np.testing.assert_allclose(against["gold@2"], -4 / 7, rtol=1e-6)
    np.testing.assert_allclose(against["proxy@2"], 4 / 7, rtol=1e-6)
    assert against["correlation@1"] == -1.0


def test_members_of_an_ensemble_are_on_one_scale():
    scores = np.array([[[1.0, 3.0]], [[10.0, 30.0]], [[5.0, 5.0]]])
    same = over_optimization.standardize(scores)
    assert same.tolist() == [[[-1.0, 1.0]], [[-1.0, 1.0]], [[0.0, 0.0]]]


def test_more_pairs_hold_the_fewer_and_flips_swap_the_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(over_optimization, "TEST_PAIRS", 2)
    pairs = {}
    for name, count, rate in (("few", 20, 0.0), ("many", 40, 0.0), ("flip", 40, 0.4)):
        folder = over_optimization.write_pairs(
            tmp_path / name, 3, count, flip_rate=rate
        )
        read = readers.read(folder / "train.jsonl", Preference)[0]
        pairs[name] = [(pair.chosen, pair.rejected) for pair in read]
    assert pairs["many"][:20] == pairs["few"]
    both = list(zip(pairs["many"], pairs["flip"], strict=True))
    flipped = [a == b[::-1] for a, b in both]
    assert all(a == b or f for (a, b), f in zip(both, flipped, strict=True))
    assert 6 <= sum(flipped) <= 26  # 16 of 40 expected, of deviation 3.1


def study_cells(seeds=2, prompts=40):
    """Cells of laws that are known, with noise by prompt."""
    rng = np.random.default_rng(0)
    laws = {"64 pairs": ("best_of_n", 1.2, 0.5), "PPO": ("rl", 1.0, 0.6)}
    cells = {}
    for arm, (form, a, b) in laws.items():
        kl = {1: 0.0} | {x: x / 3 for x in range(2, 12)}
        cells[arm] = []
        for _ in range(seeds):
            values = {"accuracy": np.array([0.7]), "loss": np.array([0.6])}
            for x, nats in kl.items():
                gain = law_gain(np.sqrt([nats]), a, b, form)
                values[f"gold@{x}"] = gain + 0.1 * nats * rng.normal(size=prompts)
                values[f"proxy@{x}"] = np.full(prompts, np.sqrt(nats))
                values[f"kl@{x}"] = np.array([nats])
                values[f"correlation@{x}"] = np.array([0.8 - 0.1 * np.sqrt(nats)])
            cells[arm].append(values)
    return cells


def test_the_report_finds_the_laws_of_its_cells(tmp_path):
    cells = study_cells()
    curves = {
        arm: over_optimization_report.curve_of(cells[arm], form, group)
        for arm, form, group in (("64 pairs", "best_of_n", "best of n"),
                                 ("PPO", "rl", "PPO"))
    }  # fmt: skip
    assert curves["PPO"].gold.shape == (11, 80)  # both seeds' prompts
    fits = over_optimization_report.fit_curves(curves)
    assert fits["64 pairs"].b.low < 0.5 < fits["64 pairs"].b.high
    assert fits["PPO"].a.low < 1.0 < fits["PPO"].a.high
    sections = over_optimization_report.sections(curves, fits, cells, tmp_path)
    page = write(Page("Over-optimization", sections), tmp_path)
    assert page.exists() and (tmp_path / "over_optimization.png").exists()
    gains, laws, ranks = (section.rows for section in sections)
    # the peaks: 1.2 / (2 * 0.5) and exp(1 / 0.6 - 1) = 1.95; the points are 1/3 apart
    assert abs(gains[0]["at d"] - 1.2) < 0.3 and abs(gains[1]["at d"] - 1.95) < 0.3
    assert ranks[0]["proxy with KL"].mean == 1.0 and ranks[0]["of both, first"] == 0.8
    assert laws[0]["points"] == 10 and laws[1]["peaks"] > 0.9


def test_curves_too_short_for_a_law_are_shown_without_one(tmp_path):
    short = {"kl@1": np.array([0.0]), "kl@2": np.array([0.2])}
    for name in ("gold", "proxy"):
        short |= {f"{name}@1": np.zeros(4), f"{name}@2": np.arange(4.0)}
    short |= {f"correlation@{x}": np.array([np.nan]) for x in (1, 2)}
    curves = {
        "64 pairs": over_optimization_report.curve_of([short], "best_of_n", "best of n")
    }
    assert over_optimization_report.fit_curves(curves) == {}
    cells = {"64 pairs": [short]}
    sections = over_optimization_report.sections(curves, {}, cells, tmp_path)
    assert sections[1].rows == [{"arm": "64 pairs", "points": 1}]


def test_gains_of_a_policy_are_over_its_start_by_prompt():
    start = {"gold": np.array([[0.0, 2.0], [4.0, 6.0]]), "proxy": np.eye(2)}
    found = held_out.Evaluation(
        texts=["a", "b"],
        reward=np.array([2.0, 9.0]),
        score=np.array([1.5, 0.5]),
        kl=np.array([1.0, 3.0]),
        length=np.array([4, 5]),
        reward_metrics={},
        prompt=np.arange(2),
    )
    point = over_optimization.policy_point(found, start)
    deviation = np.sqrt(5.0)  # of 0, 2, 4, 6
    np.testing.assert_allclose(point["gold"], np.array([1.0, 4.0]) / deviation)
    np.testing.assert_allclose(point["proxy"], [2.0, 0.0])
    assert point["correlation"] == -1.0
    first = over_optimization.start_point(start)
    assert first["gold"].tolist() == [0.0, 0.0] and first["kl"] == 0.0
