"""The studies of scores against pairs, and of the next pair: what holds exactly."""

import json

import numpy as np
import pytest

from experiments.studies import next_pair, scores_or_pairs


def test_scores_or_pairs_runs(tmp_path):
    numbers = scores_or_pairs.main(
        scores_or_pairs.Config(smoke=True, out=tmp_path / "run")
    )
    assert set(numbers) == {f"{way} at 80" for way in scores_or_pairs.WAYS}
    tables = json.loads((tmp_path / "run" / "accuracies.json").read_text())
    assert [len(rows) for rows in tables.values()] == [2, 2, 2]
    assert (tmp_path / "run" / "scales.png").exists()


def test_what_people_do_with_a_scale_does_not_touch_pairs():
    config = scores_or_pairs.Config(seeds=3, features=4)
    still = scores_or_pairs.accuracies(config, 60, 0.0, 0.0)
    apart = scores_or_pairs.accuracies(config, 60, 3.0, 0.0)
    for way in ("pairs", "rankings of 4"):
        np.testing.assert_array_equal(still[way], apart[way])
    assert (still["raw scores"] != apart["raw scores"]).any()


def test_a_budget_below_a_ranking_is_refused(tmp_path):
    config = scores_or_pairs.Config(budgets=(2,), out=tmp_path)
    with pytest.raises(ValueError, match="less time than a ranking"):
        scores_or_pairs.main(config)


def test_the_next_pair_runs(tmp_path):
    numbers = next_pair.main(next_pair.Config(smoke=True, out=tmp_path / "run"))
    assert set(numbers) == {f"{rule} at 50" for rule in next_pair.RULES}
    found = json.loads((tmp_path / "run" / "accuracies.json").read_text())
    assert len(found["accuracy"]) == 2 and len(found["means"]) == 3


def test_random_choice_needs_no_weights():
    config = next_pair.Config(pool=60, labels=(25, 50), features=4)
    outcome = next_pair.judge_pool(config, 0, "random")
    np.testing.assert_allclose(outcome.plain, outcome.weighted, atol=1e-12)


def test_all_judged_is_all_known():
    config = next_pair.Config(pool=50, labels=(50,), features=4)
    for rule in next_pair.RULES:
        outcome = next_pair.judge_pool(config, 0, rule)
        np.testing.assert_allclose([outcome.plain, outcome.weighted], 0, atol=1e-12)


def test_a_small_pool_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fewer pairs than --labels 400"):
        next_pair.main(next_pair.Config(pool=30, out=tmp_path))
