"""State -> numbers: intervals, win rates, best-of-n, refusals, plots and reports.

`tabular` is a contextual bandit whose optimum is known, to compare losses exactly.
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Interval": "intervals",
        "agreement": "agreement",
        "benchmarks": "benchmarks",
        "best_of_n": "best_of_n",
        "bootstrap": "intervals",
        "calibration": "calibration",
        "data_statistics": "data_statistics",
        "curve_values": "curve_values",
        "curves": "curves",
        "diversity": "diversity",
        "interval_over_seeds": "intervals",
        "interval_plot": "interval_plot",
        "intervals": "intervals",
        "length_plot": "length_plot",
        "paired_difference": "intervals",
        "pass_at_k": "pass_at_k",
        "perplexity": "perplexity",
        "plots": "plots",
        "preference": "preference",
        "proportions": "proportions",
        "ratings": "ratings",
        "report": "report",
        "resampling": "resampling",
        "reward_benchmarks": "reward_benchmarks",
        "safety": "safety",
        "sample_metrics": "sample_metrics",
        "score_summary": "score_summary",
        "sweep_plots": "sweep_plots",
        "sweep_tables": "sweep_tables",
        "tabular": "tabular",
        "tabular_losses": "tabular_losses",
        "text_artifacts": "text_artifacts",
        "win_rates": "win_rates",
    },
)
