"""Prompts -> samples: answers, with the log-prob of each sampled token."""

from jaxalign.sampling.continuous_batching import serve
from jaxalign.sampling.decode import generate
from jaxalign.sampling.samples import Samples, join
from jaxalign.sampling.sampling_params import SamplingParams

__all__ = ["Samples", "SamplingParams", "generate", "join", "serve"]
