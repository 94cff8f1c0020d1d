"""Prompts -> rollouts: answers sampled with the log-probs of what was sampled."""

from jaxalign.sampling.decode import Samples, generate, join
from jaxalign.sampling.queue import serve

__all__ = ["Samples", "generate", "join", "serve"]
