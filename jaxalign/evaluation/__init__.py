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
        "attack_metrics": "attack_metrics",
        "best_of_n": "best_of_n",
        "bootstrap": "intervals",
        "broken_answers": "broken_answers",
        "calibration": "calibration",
        "calibration_report": "calibration_report",
        "classifier_agreement": "classifier_agreement",
        "diversity": "diversity",
        "interval_over_seeds": "intervals",
        "interval_plot": "interval_plot",
        "intervals": "intervals",
        "length_bias": "length_bias",
        "option_orders": "option_orders",
        "mt_bench": "mt_bench",
        "paired_difference": "intervals",
        "pass_at_k": "pass_at_k",
        "plots": "plots",
        "preference": "preference",
        "proportions": "proportions",
        "refusal_classes": "refusal_classes",
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
        "strong_reject": "strong_reject",
        "tabular": "tabular",
        "tabular_losses": "tabular_losses",
        "truthfulqa": "truthfulqa",
    },
)
