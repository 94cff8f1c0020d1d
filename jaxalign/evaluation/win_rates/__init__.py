"""Win rates from judgements: raw, length-controlled, by prompt."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Judgements": "judgement_columns",
        "LengthControl": "length_control",
        "LengthWeights": "length_control",
        "RawWinRate": "raw",
        "all_tables": "comparison_tables",
        "comparison_page": "comparison_page",
        "comparison_plots": "comparison_plots",
        "comparison_tables": "comparison_tables",
        "head_to_head": "length_control",
        "judgement_columns": "judgement_columns",
        "l1_logistic": "l1_logistic",
        "length_control": "length_control",
        "length_controlled_win_rate": "length_control",
        "logistic": "logistic",
        "pairwise_judgements": "pairwise_judgements",
        "position_bias": "pairwise_judgements",
        "raw": "raw",
        "win_probabilities": "raw",
        "win_rate": "raw",
        "win_rate_matrix": "pairwise_judgements",
    },
)
