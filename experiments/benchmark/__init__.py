"""Preference losses side by side: `python -m experiments.benchmark`."""
