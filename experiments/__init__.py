"""Experiments: one question each, one module each, `python -m experiments.NAME`."""
