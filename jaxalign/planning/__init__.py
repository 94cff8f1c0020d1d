"""Memory, FLOPs and collectives of compiled programs: see `experiments.plan`."""
