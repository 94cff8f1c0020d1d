"""The flags of the measures of a backtracking study."""

import dataclasses
from typing import ClassVar

from jaxalign.evaluation.attacks.gcg import GcgOptions
from jaxalign.pipeline.behaviors.backtracking_metrics import GcgProtocol, Protocol
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.runtime import flags

GCG_WIDTH, GCG_TOPK, GCG_LENGTH = 64, 32, 8  # candidates of a step; a suffix's tokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureConfig(EvaluationConfig):
    """Flags of what is measured of a policy that may reset."""

    RANGES: ClassVar = {
        "biases": flags.ANY,
        "temperatures": flags.NOT_NEGATIVE,
        **flags.ranges_of(flags.FROM_0, "prefills gcg_prompts gcg_steps"),
        **flags.ranges_of(flags.COUNT, "prompts gcg_targets"),
    }
    prompts: int = 96
    """Most prompts of a family; twice as many safe ones."""
    samples: int = 8
    """Answers to each prompt."""
    max_new_tokens: int = 32
    """Tokens of the longest answer, with what it takes back."""
    temperatures: tuple[float, ...] = (0.0, 0.5, 1.0)
    """Of the worst of k samples."""
    biases: tuple[float, ...] = (-10.0, -5.0, -2.0, 0.0, 2.0, 5.0)
    """On the logit of [RESET]."""
    prefills: tuple[int, ...] = (0, 1, 2, 4, 8)
    """Tokens of an unsafe answer that are forced."""
    gcg_prompts: int = 4
    """Requests of a suffix by GCG, and of one against [RESET]; 0 leaves both out."""
    gcg_steps: int = 30
    """Steps of each search, of 64 candidates each."""
    gcg_targets: tuple[int, ...] = (4, 12)
    """Tokens of the unsafe answers that are the target, from short to long."""

    @property
    def given_tokens(self) -> int:
        """The most tokens that an attack adds to a prompt."""
        has_suffix = self.gcg_prompts and self.gcg_targets
        return max([*self.prefills, GCG_LENGTH if has_suffix else 0])

    def protocol(self) -> Protocol:
        """How answers are sampled, and which attacks are measured."""
        suffix = None
        if self.gcg_prompts and self.gcg_targets:
            suffix = GcgProtocol(
                prompts=self.gcg_prompts,
                options=GcgOptions(
                    steps=self.gcg_steps, width=GCG_WIDTH, topk=GCG_TOPK
                ),
                length=GCG_LENGTH,
                target_tokens=self.gcg_targets,
            )
        return Protocol(
            max_new_tokens=self.max_new_tokens,
            samples=self.samples,
            temperatures=self.temperatures,
            biases=self.biases,
            prefills=self.prefills,
            gcg=suffix,
            seed=self.seed,
        )
