"""A run and its process: command line, run folder, log, checkpoints, preemption."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "LoopState": "loop",
        "OfflineConfig": "training_config",
        "OnlineConfig": "training_config",
        "Run": "run",
        "RunConfig": "config",
        "launch": "cli",
    },
)
