"""Calibration of probabilities: ECE, Brier, NLL, temperature, reliability."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "best_temperature": "measures",
        "brier_terms": "measures",
        "ece_of_chance": "measures",
        "expected_calibration_error": "measures",
        "fold_pairs": "measures",
        "measure_calibration": "summary",
        "measures": "measures",
        "nll_terms": "measures",
        "plot_reliability": "reliability_plot",
        "reliability_bins": "measures",
        "reliability_plot": "reliability_plot",
        "summary": "summary",
    },
)
