"""Tables of evaluations: intervals over seeds and prompts, by hand."""

import dataclasses

import numpy as np

from jaxalign.evaluation.intervals import bootstrap
from jaxalign.pipeline import held_out_tables
from tests.support.evaluations import TWO_SEEDS, evaluation

replace = dataclasses.replace
T1 = 12.706205  # Student's t of one degree of freedom, at 97.5 %


def test_the_table_is_over_seeds_and_requests():
    sft, ppo = held_out_tables.table(TWO_SEEDS)
    assert sft["gain over SFT"] is None
    # every request of the first seed gains 1, of the second 3: of the mean of two the
    # deviation is 1
    np.testing.assert_allclose(ppo["gain over SFT"], (2.0, 2 - T1, 2 + T1), rtol=1e-6)
    assert str(ppo["gain over SFT"]) == "2.000 ± 12.706"
    np.testing.assert_allclose(ppo["true reward"].mean, (4 / 3 + 11 / 3) / 2)
    np.testing.assert_allclose(ppo["KL (nats)"], (1.5, 1.5 - T1 / 2, 1.5 + T1 / 2))
    # the start is no nats from itself, surely
    assert sft["KL (nats)"] == 0.0 and sft["length"] == 7.0
    # all of six requests are won: a share of p is so with probability p^6
    np.testing.assert_allclose(ppo["win rate"], (1.0, 0.025 ** (1 / 6), 1.0))


def test_rates_are_over_the_requests_where_they_can_be():
    """With intervals: refused where due, of the answers where that is so."""
    sft, ppo = held_out_tables.table(TWO_SEEDS)
    # due are SFT's rewards of 0, of which `answers` says that none is refused
    assert sft["refused_due"].mean == 0.0
    np.testing.assert_allclose(sft["refused_due"].high, 1 - 0.025 ** (1 / 3))
    assert sft["refused_undue"].mean == 1.0 and sft["refused_undue"].high == 1.0
    # 1/3 and 2/3 agree: the mean's deviation is 1/6, and a share lies in [0, 1]
    np.testing.assert_allclose(sft["agrees when wrong"], (0.5, 0.0, 1.0))
    assert ppo["refused_due"] is None  # all of its rewards are above 0


def test_a_title_says_what_intervals_are_over():
    several, one = (
        held_out_tables.title("toy", TWO_SEEDS),
        held_out_tables.title("toy", TWO_SEEDS[:1]),
    )
    assert "2 seeds" in several and "over seeds" in several and "3 held-out" in several
    assert "1 seed;" in one and "over prompts, of these models alone" in one


def test_one_seed_is_over_its_prompts():
    reward = np.random.default_rng(0).normal(size=40)
    one = {"SFT": evaluation(reward), "PPO": evaluation(reward + 1)}
    twice = {
        name: replace(x, prompt=np.repeat(x.prompt[::2], 2)) for name, x in one.items()
    }
    _, apart = held_out_tables.table([one])
    _, together = held_out_tables.table([twice])
    assert apart["gain over SFT"] == (1.0, 1.0, 1.0)
    assert apart["true reward"] == bootstrap(reward + 1, units="each")
    pairs = np.arange(40) // 2
    assert together["true reward"] == bootstrap(reward + 1, units=pairs)
