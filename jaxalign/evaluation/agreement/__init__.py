"""Agreement of annotators, and the best accuracy that their labels allow."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "AnnotatorFit": "annotator_model",
        "Ceiling": "label_ceiling",
        "PairSummary": "annotator_summary",
        "ScaleFit": "graded_scale",
        "annotator_model": "annotator_model",
        "annotator_rows": "annotator_summary",
        "annotator_summary": "annotator_summary",
        "coefficients": "coefficients",
        "cohen_kappa": "rater_pairs",
        "dirichlet_multinomial": "dirichlet_multinomial",
        "fit_annotators": "annotator_model",
        "fit_scale": "graded_scale",
        "fleiss_kappa": "coefficients",
        "graded_scale": "graded_scale",
        "gwet_ac1": "coefficients",
        "kendall_tau_b": "rater_pairs",
        "kendall_w": "rankings",
        "krippendorff_alpha": "coefficients",
        "label_ceiling": "label_ceiling",
        "label_counts": "coefficients",
        "mean_kendall_w": "rankings",
        "observed_agreement": "coefficients",
        "rankings": "rankings",
        "rater_pairs": "rater_pairs",
        "rating_pairs": "rating_pairs",
        "side_agreement_by_level": "graded_scale",
        "signed_strength": "graded_scale",
        "summarize_pairs": "annotator_summary",
        "transitivity": "rankings",
    },
)
