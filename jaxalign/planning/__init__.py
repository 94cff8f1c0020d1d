"""Memory, FLOPs and collectives of compiled programs: see `experiments.plan`."""

from jaxalign import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Chip": "chips",
        "PlannedStep": "planned_step",
        "ProgramCost": "measure",
        "program_cost": "measure",
        "programs": "programs",
    },
)
