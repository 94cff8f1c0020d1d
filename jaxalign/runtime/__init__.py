"""A run and its process: command line, run folder, log, checkpoints, preemption."""
