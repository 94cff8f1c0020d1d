"""What a step will need, found out before there are devices: see `experiments.plan`."""
