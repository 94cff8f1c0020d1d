"""Benchmarks of reward models: RewardBench 1 and 2, RM-Bench, length bias."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "SectionScore": "reward_bench",
        "accuracy_plot": "accuracy_plot",
        "best_of_result": "reward_bench2",
        "domain_scores": "rm_bench",
        "length_accuracy": "length_bias",
        "length_bias": "length_bias",
        "level_results": "rm_bench",
        "longer_wins": "length_bias",
        "overall_score": "reward_bench",
        "reward_bench": "reward_bench",
        "reward_bench2": "reward_bench2",
        "reward_calibration": "reward_calibration",
        "rm_bench": "rm_bench",
        "section_scores": "reward_bench",
        "strata": "strata",
        "style_results": "rm_bench",
        "ties_scores": "reward_bench2",
    },
)
