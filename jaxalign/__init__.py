"""jaxalign: language models aligned to human preference, in JAX.

Text -> batch -> logits -> log-probs -> terms -> gradient -> state -> numbers.

Importing this loads JAX and the pure code: losses, estimators, masks. The subpackages
with models and data load when they are first used: `jaxalign.models.load(...)`.
On text, `jaxalign.load(FOLDER)` generates answers and scores them.
"""

import os

from jaxalign import batches, estimators, lazy, losses, masks, sharding, types

# transformers would say at each start that it misses PyTorch, which nothing here needs
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

__version__ = "0.1.0"
__all__ = ["batches", "estimators", "losses", "masks", "sharding", "types"]

SUBPACKAGES = ["data", "evaluation", "models", "pipeline", "planning", "rewards"]
SUBPACKAGES += ["runtime", "sampling", "streams", "training"]
__getattr__, __dir__ = lazy.attach(
    __name__,
    {name: name for name in SUBPACKAGES}
    | dict.fromkeys(("load", "load_reward"), "pipeline.text_models"),
)
