"""Refusals, attack success, broken answers, and judges of them."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "ClassifierScores": "classifier_agreement",
        "Outcomes": "attack_metrics",
        "attack_metrics": "attack_metrics",
        "broken_answers": "broken_answers",
        "broken_reason": "broken_answers",
        "classifier_agreement": "classifier_agreement",
        "classifier_scores": "classifier_agreement",
        "is_refusal": "refusals",
        "over_refusal": "attack_metrics",
        "parse_rating": "strong_reject",
        "rates": "attack_metrics",
        "refusal_class": "refusal_classes",
        "refusal_classes": "refusal_classes",
        "refusal_metrics": "refusals",
        "refusal_quality": "refusal_quality",
        "refusals": "refusals",
        "rubric_prompt": "strong_reject",
        "strong_reject": "strong_reject",
        "success_at_k": "attack_metrics",
    },
)
