"""Sycophancy: grades of answers, metrics of four protocols, what annotators reward.

Values are per item, NaN where a metric is not defined: the items are the units of
intervals. Reference: Sharma et al. 2023, arXiv:2310.13548.
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "AgreementWorld": "exact_world",
        "CONDITIONS": "protocol_metrics",
        "FeatureEffects": "preference_mining",
        "admits_mistake": "grading",
        "agreement_world": "exact_world",
        "answer_values": "protocol_metrics",
        "are_you_sure_values": "protocol_metrics",
        "best_of_n_policy": "exact_world",
        "choice_letter": "grading",
        "choose_option": "grading",
        "evaluator_error": "evaluator_error",
        "evaluator_values": "evaluator_error",
        "feature_differences": "preference_mining",
        "feedback_values": "protocol_metrics",
        "grade_choice": "grading",
        "grade_text": "grading",
        "grading": "grading",
        "mimicry_values": "protocol_metrics",
        "mine_preferences": "preference_mining",
        "opinion_values": "protocol_metrics",
        "preference_mining": "preference_mining",
        "protocol_metrics": "protocol_metrics",
        "summarize_values": "protocol_metrics",
    },
)
