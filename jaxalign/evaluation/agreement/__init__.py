"""Agreement of annotators, and the best accuracy that their labels allow."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Ceiling": "label_ceiling",
        "coefficients": "coefficients",
        "cohen_kappa": "rater_pairs",
        "dirichlet_multinomial": "dirichlet_multinomial",
        "fleiss_kappa": "coefficients",
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
        "transitivity": "rankings",
    },
)
