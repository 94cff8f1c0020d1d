"""Preference losses side by side: `python -m experiments.benchmark`."""

from jaxalign import lazy

# loaded on first use: with `python -m`, an imported __main__ would run twice
__getattr__, __dir__ = lazy.attach(__name__, {"Config": "__main__", "main": "__main__"})
