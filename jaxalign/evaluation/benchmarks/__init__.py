"""Scores of BBQ, TruthfulQA, MT-Bench, and tables of the harness."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "BbqItems": "bbq",
        "BbqScores": "bbq",
        "TruthfulScores": "truthfulqa",
        "bbq": "bbq",
        "bbq_scores": "bbq",
        "chance_scores": "truthfulqa",
        "harness_tables": "harness_tables",
        "mc1": "truthfulqa",
        "mc2": "truthfulqa",
        "mt_bench": "mt_bench",
        "option_orders": "option_orders",
        "option_scores": "option_orders",
        "parse_rating": "mt_bench",
        "parse_verdict": "mt_bench",
        "rotations": "option_orders",
        "truthful_scores": "truthfulqa",
        "truthfulqa": "truthfulqa",
    },
)
