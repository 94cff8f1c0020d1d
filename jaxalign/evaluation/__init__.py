"""State -> numbers: intervals, win rates, best-of-n, refusals, plots and reports.

`tabular` is a contextual bandit whose optimum is known, to compare losses exactly.
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Interval": "intervals",
        "accuracy_plot": "accuracy_plot",
        "bbq": "bbq",
        "best_of_n": "best_of_n",
        "calibration": "calibration",
        "calibration_report": "calibration_report",
        "diversity": "diversity",
        "bootstrap": "intervals",
        "interval_over_seeds": "intervals",
        "intervals": "intervals",
        "length_bias": "length_bias",
        "option_orders": "option_orders",
        "paired_difference": "intervals",
        "pass_at_k": "pass_at_k",
        "plots": "plots",
        "preference": "preference",
        "proportions": "proportions",
        "refusals": "refusals",
        "reliability_plot": "reliability_plot",
        "report": "report",
        "resampling": "resampling",
        "reward_bench": "reward_bench",
        "reward_bench2": "reward_bench2",
        "reward_calibration": "reward_calibration",
        "rm_bench": "rm_bench",
        "sample_metrics": "sample_metrics",
        "strata": "strata",
        "tabular": "tabular",
        "tabular_losses": "tabular_losses",
        "truthfulqa": "truthfulqa",
    },
)
