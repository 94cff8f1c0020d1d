"""State -> numbers: intervals, win rates, best-of-n, refusals, plots and reports.

`tabular` is a contextual bandit whose optimum is known, to compare losses exactly.
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Interval": "intervals",
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
        "sample_metrics": "sample_metrics",
        "strong_reject": "strong_reject",
        "tabular": "tabular",
        "tabular_losses": "tabular_losses",
    },
)
