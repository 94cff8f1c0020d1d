"""How answers to one prompt share it: as they are sampled, and where models read them.

Samples that share the reading of their prompt cost one prefill; answers that follow one
copy of it in a row (`batches.Branches`) cost its tokens once, going forward and
backward.
"""

from jaxalign.models.config import ModelConfig


def prompt_copies(prompts: int, samples: int, *, parts: int) -> int:
    """How often each prompt is read for its samples: as rarely as they divide.

    Args:
      parts: devices that rows are cut over, where the prompts are.

    >>> prompt_copies(4, 8, parts=1), prompt_copies(4, 4, parts=8)
    (1, 2)
    """
    divide = [n for n in range(1, samples) if samples % n == prompts * n % parts == 0]
    return min(divide, default=samples)


def answers_per_row(
    model: ModelConfig, prompts: int, samples: int, *, parts: int
) -> int:
    """How many answers to a prompt follow one copy of it: as many as divide.

    Args:
      prompts, samples: of an iteration; samples are to each prompt.
      parts: into which whole rows must divide: minibatches times devices.
    """
    if not model.supports_shared_prompts:
        return 1
    fits = lambda n: samples % n == prompts * samples // n % parts == 0
    return max(filter(fits, range(1, samples + 1)), default=1)
