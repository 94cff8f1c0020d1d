"""jaxalign: language models aligned to human preference, in JAX.

Text -> batch -> logits -> log-probs -> terms -> gradient -> state -> numbers.
Importing this loads JAX and the pure code; `jaxalign.data`, `.models` and `.training`
are imported by name where they are needed.
"""

from jaxalign import batches, estimators, losses, masks, sharding, types

__version__ = "0.1.0"
__all__ = ["batches", "estimators", "losses", "masks", "sharding", "types"]
