"""Prompts -> rollouts: answers sampled with the log-probs of what was sampled."""

from jaxalign.sampling.continuous_batching import serve
from jaxalign.sampling.decode import Samples, generate, join

__all__ = ["Samples", "generate", "join", "serve"]
