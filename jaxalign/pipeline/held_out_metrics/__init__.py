"""Held-out metrics of a model while it trains, a function for each kind of data.

Each returns a `Measure`, a function of the loop's state that `Run.evaluate` calls where
an evaluation is due, or None where nothing is held out:

conversations  NLL per token, perplexity
of_loss        what a preference loss compares: one of the next two
pairs          preference pairs under a policy: loss, accuracy, margin, log-ratios
unpaired       single answers under a policy: KTO's loss, accuracy, margin
scores         preference pairs under a reward model: loss, accuracy, margin
rollouts       answers to prompts: reward, KL, length, entropy, share ended
distillation   answers to prompts of a teacher and a student: KLs between the two

Every held-out row gives its own numbers, which are summed in float64 and divided once:
neither the batch size nor the number of devices matters.
"""

from jaxalign.pipeline.held_out_metrics.by_loss import of_loss
from jaxalign.pipeline.held_out_metrics.conversations import conversations
from jaxalign.pipeline.held_out_metrics.distillation import distillation
from jaxalign.pipeline.held_out_metrics.pairs import pairs
from jaxalign.pipeline.held_out_metrics.rollouts import rollouts
from jaxalign.pipeline.held_out_metrics.scores import scores
from jaxalign.pipeline.held_out_metrics.unpaired import unpaired

__all__ = [
    "conversations",
    "distillation",
    "of_loss",
    "pairs",
    "rollouts",
    "scores",
    "unpaired",
]
