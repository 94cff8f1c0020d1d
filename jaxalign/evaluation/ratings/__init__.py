"""Ratings of models from battles: Bradley-Terry, its intervals, Elo."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Arena": "arena",
        "Battles": "battles",
        "EloSummary": "elo",
        "Ratings": "bradley_terry",
        "answer_style": "answer_style",
        "arena": "arena",
        "battles": "battles",
        "bootstrap_ratings": "rating_intervals",
        "bradley_terry": "bradley_terry",
        "elo": "elo",
        "elo_over_shuffles": "elo",
        "half_wins": "battles",
        "make_battles": "battles",
        "rate": "bradley_terry",
        "rate_arena": "arena",
        "rating_intervals": "rating_intervals",
        "style_counts": "answer_style",
        "style_differences": "answer_style",
        "upper_bound_ranks": "rating_intervals",
    },
)
