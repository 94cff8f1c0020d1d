"""Terms -> state: objectives, the step, optimizer, checkpoints, metrics.

`objectives` make `(params, batch) -> (sum, (weight, metrics))` of a model and a loss,
`make_step` compiles the update of an objective and an optimizer, `reference_cache`
keeps the reference's log-probs, `checkpoint` and `metrics` write the run.
"""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Objective": "step",
        "PairwiseLoss": "preference_loss",
        "Step": "step",
        "TrainState": "state",
        "checkpoint": "checkpoint",
        "group_methods": "group_methods",
        "make_step": "step",
        "metrics": "metrics",
        "objectives": "objectives",
        "optimizer": "optimizer",
        "reference_cache": "reference_cache",
        "state": "state",
    },
)
