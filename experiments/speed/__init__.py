"""How fast a step is: against peers, and how far from the floor of the hardware.

Which loss is *better* is another question: see `experiments.benchmark`.
"""
